import ChallengeModel
import Wire

/// `POST /v1/<app id>/messages:send` with a data message of high urgency. The app shows it. Source: Huawei, "Sending
/// Messages" of Push Kit's REST API.
enum HMSRequest {
    /// Maximum size of the message body without tokens, in bytes.
    static let dataLimit = 4096
    /// Bytes after the message that surround the tokens.
    private static let aroundTokens = 13
    /// 15 days, HMS's maximum.
    static let longestTTLSeconds: Int64 = 1_296_000

    /// Writes header fields and body. The caller adds the authorization.
    /// - Parameter path: `/v1/<app id>/messages:send`.
    static func write(_ push: Push, path: String, nowMs: Int64, to request: PushRequest) throws(UnfitPush) {
        guard push.kind != .background else { throw UnfitPush(reason: "no-background") }
        guard !push.pushToken.isEmpty else { throw UnfitPush(reason: "80300010") }
        guard request.field(.path, path), request.field(.contentType, "application/json") else {
            throw UnfitPush(reason: "80100003")
        }
        request.beginBody()
        let json = PayloadWriter(request: request)
        writeMessage(push, message: push.message, nowMs: nowMs, with: json)
        if request.bodyCount + aroundTokens > dataLimit {
            let room = dataLimit - aroundTokens - request.bodyCount + sizeInData(push.message.utf8)
            request.truncate(to: request.fieldsEnd)
            writeMessage(
                push, message: PushPayload.fitting(push.message, room, size: sizeInData), nowMs: nowMs, with: json)
            if request.bodyCount + aroundTokens > dataLimit { throw UnfitPush(reason: "80300008") }
        }
        json.raw(",\"token\":[")
        json.string(push.pushToken)
        json.raw("]}}")
    }

    /// Writes everything that counts towards the limit: all of the message except the token.
    private static func writeMessage(_ push: Push, message: String, nowMs: Int64, with json: PayloadWriter) {
        // `data` is a string that contains JSON, so its contents are escaped twice.
        let inner = PushRequest(capacity: 1024)
        inner.beginBody()
        let innerJSON = PayloadWriter(request: inner)
        innerJSON.raw("{")
        PushPayload.writeMembers(of: push, message: message, with: innerJSON)
        // The notification tag for the app, so that a repeat replaces the notification. This is not a collapse key.
        innerJSON.raw(",\"tag\":")
        innerJSON.string(push.challengeSID)
        innerJSON.raw("}")
        json.raw(push.isOnlyChecked ? "{\"validate_only\":true" : "{\"validate_only\":false")
        json.raw(",\"message\":{\"data\":")
        json.string(String(decoding: inner.body, as: UTF8.self))
        json.raw(",\"android\":{\"collapse_key\":-1,\"urgency\":\"HIGH\",\"ttl\":\"")
        // HMS has no "now or never"; its minimum is one second.
        json.number(min(max(((push.heldUntilMs ?? push.expiresAtMs) - nowMs) / 1000, 1), longestTTLSeconds))
        json.raw("s\"")
        if let tag = push.receiptTag {
            json.raw(",\"bi_tag\":")
            json.string(tag)
        }
        json.raw("}")
    }

    /// The number of bytes that these bytes take in `data`. Escapes start with a backslash, and the backslash is
    /// escaped again. So is an escaped quote or backslash.
    private static func sizeInData(_ bytes: any Collection<UInt8>) -> Int {
        bytes.reduce(0) { sum, byte in
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): sum + 4
            case 0..<0x20: sum + JSONText.size(of: byte) + 1
            default: sum + 1
            }
        }
    }
}
