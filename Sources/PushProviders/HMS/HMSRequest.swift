import ChallengeModel
import Wire

/// `POST /v1/<app id>/messages:send` with a data message of high urgency, which the app shows. Source: Huawei, "Sending
/// Messages" of Push Kit's REST API.
enum HMSRequest {
    /// Bytes of the message body without tokens.
    static let dataLimit = 4096
    /// Bytes behind the message that stand around the tokens.
    private static let aroundTokens = 13
    /// 15 days, HMS's most.
    static let longestTTLSeconds: Int64 = 1_296_000

    /// Writes fields and body; the authorization is added by the caller.
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

    /// All that counts: the whole but for the token.
    private static func writeMessage(_ push: Push, message: String, nowMs: Int64, with json: PayloadWriter) {
        // `data` is a string that holds JSON, so what is in it is escaped twice.
        let inner = PushRequest(capacity: 1024)
        inner.beginBody()
        let innerJSON = PayloadWriter(request: inner)
        innerJSON.raw("{")
        PushPayload.writeMembers(of: push, message: message, with: innerJSON)
        // The app's notification tag, so that a repeat replaces what is shown. Not a collapse key.
        innerJSON.raw(",\"tag\":")
        innerJSON.string(push.challengeSID)
        innerJSON.raw("}")
        json.raw("{\"validate_only\":false,\"message\":{\"data\":")
        json.string(String(decoding: inner.body, as: UTF8.self))
        json.raw(",\"android\":{\"collapse_key\":-1,\"urgency\":\"HIGH\",\"ttl\":\"")
        // HMS takes no "now or never": a second is its least.
        json.number(min(max(((push.heldUntilMs ?? push.expiresAtMs) - nowMs) / 1000, 1), longestTTLSeconds))
        json.raw("s\"")
        if let tag = push.receiptTag {
            json.raw(",\"bi_tag\":")
            json.string(tag)
        }
        json.raw("}")
    }

    /// Bytes in `data` of a string with these. Each escape starts with a backslash, which is escaped once more, as are what was
    /// a quote or a backslash before.
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
