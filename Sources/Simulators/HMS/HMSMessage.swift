import DeviceKit
import Wire

/// A message that HMS's v1 API takes, checked as Huawei's "Sending Messages" describes it.
struct HMSMessage: Sendable, Hashable {
    /// Bytes of the body without the tokens.
    static let longest = 4096
    static let mostTokens = 1000
    /// "The maximum value is 1296000 (15 days)."
    static let longestLifeSeconds: Int64 = 1_296_000
    /// "The value contains a maximum of 64 bytes."
    static let longestTag = 64

    var tokens: [String]
    /// The strings of `data` when that is a JSON object, else empty: what our apps get.
    var values: [String: String] = [:]
    var isHighPriority = false
    /// -1: all are kept for a device that is offline; 0 to 100: the latest of each group.
    var collapseKey: Int64 = -1
    /// Seconds, whole. "The default value is 86400 (1 day)."
    var lifeSeconds: Int64 = 86_400
    /// `bi_tag`: comes back in receipts.
    var tag = ""
    var hasNotification = false
    var validateOnly = false

    /// - Parameters:
    ///   - bytes: the body, whole or as much of it as was kept.
    ///   - length: of the body as it came.
    init(_ bytes: [UInt8], length: Int) throws(HMSResult) {
        guard length == bytes.count else { throw .tooLarge }
        guard let tree = try? JSONParser.parse(bytes, .reply), let top = tree.members else {
            throw .structure("the body is not JSON")
        }
        try Self.only(["validate_only", "message"], top, at: "")
        switch tree["validate_only"] {
        case nil: break
        case .boolean(let value): validateOnly = value
        default: throw .parameter("validate_only must be true or false")
        }
        guard let message = tree["message"], let members = message.members else {
            throw .structure("message must be an object")
        }
        try Self.only(
            ["data", "notification", "android", "apns", "webpush", "token", "topic", "condition"], members,
            at: "message.")
        let targets = members.filter { ["token", "topic", "condition"].contains($0.name) }
        guard targets.count == 1, let target = targets.first, target.name == "token" else {
            throw .structure("one of token, topic and condition; this stand-in knows token only")
        }
        guard let elements = target.value.elements, 1...Self.mostTokens ~= elements.count else { throw .tokenCount }
        tokens = try elements.map { element throws(HMSResult) in
            guard let text = element.stringValue, !text.isEmpty, text.utf8.count <= 4096 else { throw .tokenCount }
            return text
        }
        guard length - Self.tokensLength(in: bytes) <= Self.longest else { throw .tooLarge }
        if let data = message["data"] { try read(data: data) }
        hasNotification = message["notification"] != nil
        if let android = message["android"] { try read(android: android) }
        guard hasNotification || message["data"] != nil || message["android"]?["data"] != nil else {
            throw .structure("message has neither data nor a notification")
        }
    }

    /// Bytes that the list of tokens takes up in the body.
    private static func tokensLength(in bytes: [UInt8]) -> Int {
        guard let message = try? JSONParser.memberRanges(of: bytes).first(where: { $0.name == "message" }),
            let token = try? JSONParser.memberRanges(of: bytes, in: message.range).first(where: { $0.name == "token" })
        else { return 0 }
        return token.range.count
    }

    private mutating func read(data: JSONValue) throws(HMSResult) {
        guard let text = data.stringValue else { throw .structure("data must be a string") }
        let members = (try? JSONParser.parse(text, .reply))?.members ?? []
        values = Dictionary(
            members.compactMap { member in member.value.stringValue.map { (member.name, $0) } },
            uniquingKeysWith: { $1 })
    }

    private mutating func read(android: JSONValue) throws(HMSResult) {
        guard let members = android.members else { throw .structure("android must be an object") }
        try Self.only(
            [
                "collapse_key", "urgency", "category", "ttl", "bi_tag", "receipt_id", "fast_app_target", "data",
                "notification",
            ], members, at: "message.android.")
        if let key = android["collapse_key"] {
            guard let value = key.integerValue, -1...100 ~= value else {
                throw HMSResult(code: "80100013", message: "collapse_key must be -1 to 100")
            }
            collapseKey = value
        }
        switch android["urgency"]?.stringValue {
        case nil where android["urgency"] == nil: break
        case "HIGH": isHighPriority = true
        case "NORMAL": break
        default: throw .parameter("urgency must be HIGH or NORMAL")
        }
        if let ttl = android["ttl"] {
            guard let seconds = ttl.stringValue.flatMap(Self.seconds), 1...Self.longestLifeSeconds ~= seconds else {
                throw HMSResult(code: "80100004", message: "ttl must be 1s to 1296000s")
            }
            lifeSeconds = seconds
        }
        if let tag = android["bi_tag"] {
            guard let text = tag.stringValue, text.utf8.count <= Self.longestTag else {
                throw .parameter("bi_tag must be a string of at most 64 bytes")
            }
            self.tag = text
        }
        if let data = android["data"] { try read(data: data) }
        if let notification = android["notification"] {
            guard notification.members != nil else { throw .structure("android.notification must be an object") }
            hasNotification = true
        }
    }

    /// Huawei's pattern: digits, a fraction of up to 9 digits, `s` at the end or none.
    private static func seconds(_ text: String) -> Int64? {
        let digits = text.hasSuffix("s") || text.hasSuffix("S") ? text.dropLast() : text[...]
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard 1...2 ~= parts.count, let whole = Int64(parts[0]), parts[0].utf8.allSatisfy(isDigit) else { return nil }
        if parts.count == 2 {
            guard 1...9 ~= parts[1].utf8.count, parts[1].utf8.allSatisfy(isDigit) else { return nil }
        }
        return whole
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func only(_ names: Set<String>, _ members: [(name: String, value: JSONValue)], at place: String)
        throws(HMSResult)
    {
        for member in members where !names.contains(member.name) {
            throw .structure("unknown name \(place)\(member.name)")
        }
    }
}
