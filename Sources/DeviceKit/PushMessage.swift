import Wire

/// The reason why a payload is not the push of a challenge.
public enum PushMessageError: Error, Sendable, Hashable, CustomStringConvertible {
    /// `type` is missing or has another value, so the push is not from Beckon.
    case otherType
    /// A value is missing or does not have the expected form. The text is its name.
    case malformed(String)

    public var description: String {
        switch self {
        case .otherType: "not a push of a challenge"
        case .malformed(let name): "the push's \(name) is missing or not of its form"
        }
    }
}

/// A push as the app receives it: top-level strings next to `aps` on APNs, `data` on FCM.
public struct PushMessage: Sendable, Hashable, Codable {
    /// The kind of a push.
    public enum Kind: String, Sendable, Codable, Hashable {
        /// The person sees a notification.
        case visible
        /// The push only wakes the app.
        case background
    }

    /// The value of `type`.
    public static let type = "verify_push_challenge"

    /// `YC…`. Several pushes may name the same challenge; an app shows it once.
    public var challengeSID: String
    /// `YF…`: the registration of the app that the push is for.
    public var factorSID: String
    /// The text to show, at most 256 characters.
    public var message: String
    /// The dispatch id; nil from servers other than Beckon.
    public var dispatch: String?
    /// Expiry in epoch milliseconds. Ignore a push that arrives later. Nil from servers other than Beckon.
    public var expiresAtMs: Int64?
    /// For ``DeviceClient/confirm(receiptToken:channel:shown:)``; nil from servers other than Beckon.
    public var receiptToken: String?
    /// Visible when the push does not say it.
    public var kind: Kind

    /// Reads the strings of a payload. Unknown names are ignored.
    /// - Throws: ``PushMessageError``.
    public init(values: [String: String]) throws(PushMessageError) {
        guard values["type"] == Self.type else { throw .otherType }
        guard let challengeSID = values["challenge_sid"], Self.isSID(challengeSID, "YC") else {
            throw .malformed("challenge_sid")
        }
        guard let factorSID = values["factor_sid"], Self.isSID(factorSID, "YF") else { throw .malformed("factor_sid") }
        self.challengeSID = challengeSID
        self.factorSID = factorSID
        message = values["message"] ?? ""
        dispatch = values["dispatch"]
        receiptToken = values["receipt_token"]
        if let text = values["expires_at"] {
            guard let time = Timestamp.epochMs(text) else { throw .malformed("expires_at") }
            expiresAtMs = time
        }
        if let word = values["kind"] {
            guard let kind = Kind(rawValue: word) else { throw .malformed("kind") }
            self.kind = kind
        } else {
            kind = .visible
        }
    }

    /// Reads a payload as JSON text: a whole APNs payload, or FCM's `data`. Values that are not strings are ignored.
    /// - Throws: ``PushMessageError``.
    public init(json: [UInt8]) throws(PushMessageError) {
        guard let members = (try? JSONParser.parse(json, .reply))?.members else { throw .otherType }
        var values: [String: String] = [:]
        for member in members { if let text = member.value.stringValue { values[member.name] = text } }
        try self.init(values: values)
    }

    /// True at and after ``expiresAtMs``. Providers may deliver late, and an app ignores such a push.
    public func isExpired(nowMs: Int64) -> Bool { expiresAtMs.map { nowMs >= $0 } ?? false }

    private static func isSID(_ text: String, _ prefix: String) -> Bool {
        text.utf8.count == 34 && text.hasPrefix(prefix)
            && text.utf8.dropFirst(2).allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0 | 0x20)
            }
    }
}
