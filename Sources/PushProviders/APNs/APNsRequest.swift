import ChallengeModel
import Wire

/// `POST /3/device/<token>`: Apple, "Sending notification requests to APNs" and "Generating a remote notification".
enum APNsRequest {
    /// Maximum size of the payload in bytes, uncompressed.
    static let payloadLimit = 4096

    /// Writes header fields and body. The caller adds the authorization.
    static func write(_ push: Push, to request: PushRequest) throws(UnfitPush) {
        let isBackground = push.kind == .background
        guard !push.pushToken.isEmpty else { throw UnfitPush(reason: "MissingDeviceToken") }
        // Other characters could change the path, and no device token contains them.
        guard push.pushToken.utf8.count <= 200, push.pushToken.utf8.allSatisfy({ isHexDigit($0) }) else {
            throw UnfitPush(reason: "BadDeviceToken")
        }
        request.answerIDName = "apns-id"
        let path = request.beginField(.path)
        request.append("/3/device/")
        var token = push.pushToken
        token.withUTF8 { request.append($0) }
        request.endField(at: path)
        guard request.field(.apnsTopic, push.appID) else { throw UnfitPush(reason: "MissingTopic") }
        guard request.field(.apnsPushType, isBackground ? "background" : "alert") else { return }
        guard request.field(.apnsPriority, isBackground ? "5" : "10") else { return }
        let expiration = request.beginField(.apnsExpiration)
        // A background push is never stored: APNs stores one notification per app, and that must be the alert. The time
        // is rounded down, so that nothing is delivered after the expiry.
        request.append(decimal: isBackground ? 0 : (push.heldUntilMs ?? push.expiresAtMs) / 1000)
        request.endField(at: expiration)
        guard request.field(.apnsID, push.pushID) else { throw UnfitPush(reason: "BadMessageId") }
        if !isBackground {
            guard push.challengeSID.utf8.count <= 64, request.field(.apnsCollapseID, push.challengeSID) else {
                throw UnfitPush(reason: "BadCollapseId")
            }
        }
        request.beginBody()
        let json = PayloadWriter(request: request)
        writePayload(push, alert: push.message, message: push.message, with: json)
        guard request.bodyCount > payloadLimit else { return }
        let size = JSONText.size(of: push.message.utf8)
        let room = payloadLimit - request.bodyCount + (isBackground ? size : 2 * size)
        // The alert text is shortened first, down to a quarter of the room. The app then still gets the whole message.
        let alert = isBackground ? "" : PushPayload.fitting(push.message, max(room / 4, room - size))
        let message = PushPayload.fitting(push.message, room - JSONText.size(of: alert.utf8))
        request.truncate(to: request.fieldsEnd)
        writePayload(push, alert: alert, message: message, with: json)
        if request.bodyCount > payloadLimit { throw UnfitPush(reason: "PayloadTooLarge") }
    }

    private static func writePayload(_ push: Push, alert: String, message: String, with json: PayloadWriter) {
        if push.kind == .background {
            json.raw("{\"aps\":{\"content-available\":1},")
        } else {
            json.raw("{\"aps\":{\"alert\":{\"body\":")
            json.string(alert)
            json.raw("},\"sound\":\"default\",\"category\":\"verify_push_challenge\",\"mutable-content\":1,")
            json.raw("\"interruption-level\":\"time-sensitive\"},")
        }
        PushPayload.writeMembers(of: push, message: message, with: json)
        json.raw("}")
    }

    static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }
}

extension HeaderName {
    package static var apnsTopic: HeaderName { HeaderName("apns-topic") }
    package static var apnsPushType: HeaderName { HeaderName("apns-push-type") }
    package static var apnsPriority: HeaderName { HeaderName("apns-priority") }
    package static var apnsExpiration: HeaderName { HeaderName("apns-expiration", isNeverIndexed: true) }
    package static var apnsCollapseID: HeaderName { HeaderName("apns-collapse-id", isNeverIndexed: true) }
    package static var apnsID: HeaderName { HeaderName("apns-id", isNeverIndexed: true) }
}
