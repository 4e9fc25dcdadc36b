/// How the quick tries of one request behave, as the fragment of a URL says it: `#ct=2000&rc=3&rp=5xx,ct`. The fragment
/// is never sent and never signed. Names, ranges and defaults are those of the API's own connection overrides.
public struct ConnectionOverrides: Sendable, Hashable {
    /// What a quick try is repeated for.
    public enum Retry: String, Sendable, Hashable, CaseIterable {
        case status4xx = "4xx"
        case status5xx = "5xx"
        case connect = "ct"
        case read = "rt"
        case all
    }

    /// `ct`, 100 to 10,000 ms.
    public var connectTimeout: Duration = .milliseconds(5000)
    /// `rt`, 100 to 15,000 ms: for the answer, and between its parts.
    public var readTimeout: Duration = .milliseconds(15_000)
    /// `tt`, 100 to 15,000 ms: all quick tries together.
    public var totalTimeout: Duration = .milliseconds(15_000)
    /// `rc`, 0 to 5 repeats.
    public var repeats = 1
    /// `rp`.
    public var repeatsFor: Set<Retry> = [.connect]

    public init() {}

    /// - Throws: ``CustomerURLError/overrides(_:)`` for a name that there is not, a name twice, and a value out of its
    ///   range.
    init(fragment: Substring) throws(CustomerURLError) {
        guard !fragment.isEmpty else { return }
        var seen: Set<Substring> = []
        for pair in fragment.split(separator: "&", omittingEmptySubsequences: false) {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, seen.insert(parts[0]).inserted else {
                throw .overrides("the fragment holds name=value pairs, each name once, like #ct=2000&rc=3")
            }
            let value = parts[1]
            switch parts[0] {
            case "ct": connectTimeout = try Self.milliseconds("ct", value, 100...10_000)
            case "rt": readTimeout = try Self.milliseconds("rt", value, 100...15_000)
            case "tt": totalTimeout = try Self.milliseconds("tt", value, 100...15_000)
            case "rc": repeats = try Self.number("rc", value, 0...5)
            case "rp":
                var policy: Set<Retry> = []
                for word in value.split(separator: ",", omittingEmptySubsequences: false) {
                    guard let retry = Retry(rawValue: String(word)) else {
                        throw .overrides("rp is a list of \(Retry.allCases.map(\.rawValue).joined(separator: ", "))")
                    }
                    policy.insert(retry)
                }
                repeatsFor = policy
            // The certificate is checked against the name in any case, and there is one edge only.
            case "sni" where value == "y", "e" where !value.isEmpty: break
            default:
                throw .overrides("the fragment knows ct, rt, tt, rc and rp (sni=y and e are accepted, and do nothing)")
            }
        }
    }

    private static func milliseconds(
        _ name: String, _ text: Substring, _ range: ClosedRange<Int>
    ) throws(CustomerURLError) -> Duration {
        .milliseconds(try number(name, text, range))
    }

    private static func number(
        _ name: String, _ text: Substring, _ range: ClosedRange<Int>
    ) throws(CustomerURLError) -> Int {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = Int(text), range.contains(value) else {
            throw .overrides("\(name) is a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
}
