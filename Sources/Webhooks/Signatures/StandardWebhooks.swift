import Crypto
import Wire

/// The headers of Standard Webhooks 1.0.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
public enum StandardWebhooks {
    public static let idHeader = "webhook-id"
    public static let timestampHeader = "webhook-timestamp"
    public static let signatureHeader = "webhook-signature"

    /// The id of an event for one webhook: the same at every repeat and for every instance, another one for another
    /// webhook. It holds no dot, as the signed text demands; event ids do.
    public static func messageID(event: String, webhook: String) -> String {
        let digest = SHA256.hash(data: Array("\(webhook)\n\(event)".utf8))
        return "msg_" + Base64URL.encode(digest.prefix(16))
    }

    /// - Parameters:
    ///   - secrets: the present one, and the former one while both are valid: a receiver accepts any.
    ///   - timestamp: seconds of the attempt, not of the event.
    public static func signature(
        id: String, timestamp: Int64, body: [UInt8], secrets: [WebhookSecret]
    ) -> String {
        let message = Array("\(id).\(timestamp).".utf8) + body
        return secrets.map { "v1," + $0.code(of: message) }.joined(separator: " ")
    }
}

/// The secret of one webhook: 32 random bytes, shown as `whsec_` and base64.
public struct WebhookSecret: Sendable {
    public static let prefix = "whsec_"
    public let bytes: [UInt8]
    /// Has taken the key in; each code starts from a copy.
    private let prepared: HMAC<SHA256>

    /// - Parameter bytes: 24 to 64, as the standard says.
    public init(bytes: [UInt8]) {
        self.bytes = bytes
        prepared = HMAC<SHA256>(key: SymmetricKey(data: bytes))
    }

    public var text: String { Self.prefix + Base64.encode(bytes) }

    fileprivate func code(of message: [UInt8]) -> String {
        var hmac = prepared
        hmac.update(data: message)
        return hmac.finalize().withUnsafeBytes { Base64.encode($0) }
    }
}
