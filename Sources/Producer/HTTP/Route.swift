import ChallengeModel
import HTTPEdge
import Wire

/// A resource that the API serves: its path, and what can be done with it.
struct Route: Sendable {
    /// What a refusal is about, besides its caller: the last SID of the path.
    enum Subject: Sendable { case caller, challenge, factor }

    /// The path with names in braces in place of values; also for metrics and logs.
    let template: String
    let subject: Subject
    let operations: [Operation]
    /// Some operation is for those who are no backends: the address for devices serves the resource.
    let isForDevices: Bool
    /// For a 405: `GET, POST`, as the original API has it.
    let methods: String
    /// For a 405, for people: `GET or POST`.
    let expected: String
    /// For `OPTIONS` (RFC 9110, section 10.2.1): HEAD goes with GET.
    let allow: String

    init(_ template: String, of subject: Subject = .caller, _ operations: Operation...) {
        self.template = template
        self.subject = subject
        self.operations = operations
        isForDevices = operations.contains { $0.device != .none }
        let names = operations.map(\.method.rawValue)
        methods = names.joined(separator: ", ")
        expected = names.joined(separator: " or ")
        allow = (names.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] } + ["OPTIONS"]).joined(separator: ", ")
    }

    func operation(_ method: String) -> Operation? { operations.first { $0.method.rawValue == method } }

    /// For `OPTIONS *`.
    static let everyMethod = "GET, HEAD, POST, DELETE, OPTIONS"
}

/// A route that a request's path leads to, and the values in the path: percent-decoded, not yet checked.
struct RouteMatch: Sendable, Equatable {
    /// The position in ``Route/table``.
    let index: Int
    let values: [String]

    private static let paths = PathTable(Route.table.map(\.template))

    /// - Parameter path: without its query. Nil when nothing is served there.
    init?(path: Substring) {
        let match = Self.paths.match(path) { segment in
            guard PlainText.refused(in: segment, .line) == nil else { return nil }
            guard segment.utf8.contains(UInt8(ascii: "%")) else { return String(segment) }
            guard let text = Percent.decode(segment.utf8, plusIsSpace: false), PlainText.refused(in: text, .line) == nil
            else { return nil }
            return text
        }
        guard let match else { return nil }
        (index, values) = (match.index, match.values)
    }

    var route: Route { Route.table[index] }
}
