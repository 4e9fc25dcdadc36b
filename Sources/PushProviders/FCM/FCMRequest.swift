import ChallengeModel
import Wire

/// `POST /v1/projects/<id>/messages:send` with a data message of high priority. The app turns it into a notification.
/// Notification messages are not used, because they are collapsible, and FCM limits collapsible messages to 20 per
/// device and then one per 3 minutes.
enum FCMRequest {
    /// Maximum size of all keys and values of `data`, in bytes.
    static let dataLimit = 4096
    /// Four weeks, FCM's maximum.
    static let longestTTLSeconds: Int64 = 2_419_200

    /// Writes header fields and body. The caller adds the authorization.
    /// - Parameter path: `/v1/projects/<id>/messages:send`.
    static func write(_ push: Push, path: String, nowMs: Int64, to request: PushRequest) throws(UnfitPush) {
        guard push.kind != .background else { throw UnfitPush(reason: "no-background") }
        guard !push.pushToken.isEmpty else { throw UnfitPush(reason: "INVALID_ARGUMENT") }
        guard request.field(.path, path), request.field(.contentType, "application/json") else {
            throw UnfitPush(reason: "INVALID_ARGUMENT")
        }
        request.beginBody()
        let json = PayloadWriter(request: request)
        json.raw(push.isOnlyChecked ? "{\"validate_only\":true,\"message\":{\"token\":" : "{\"message\":{\"token\":")
        json.string(push.pushToken)
        json.raw(",\"data\":{")
        let start = request.count
        writeData(push, message: push.message, with: json)
        // The size includes escapes and quotes. This is slightly stricter than FCM, which answers INVALID_ARGUMENT.
        if request.count - start > dataLimit {
            let room = dataLimit - (request.count - start) + JSONText.size(of: push.message.utf8)
            request.truncate(to: start)
            writeData(push, message: PushPayload.fitting(push.message, room), with: json)
            if request.count - start > dataLimit { throw UnfitPush(reason: "INVALID_ARGUMENT") }
        }
        json.raw("},\"android\":{\"priority\":\"HIGH\",\"ttl\":\"")
        // 0 means "now or never", which is right also in the last second.
        json.number(min(max(((push.heldUntilMs ?? push.expiresAtMs) - nowMs) / 1000, 0), longestTTLSeconds))
        json.raw("s\"}}}")
    }

    private static func writeData(_ push: Push, message: String, with json: PayloadWriter) {
        PushPayload.writeMembers(of: push, message: message, with: json)
        // The notification tag for the app, so that a repeat replaces the notification. This is not a collapse key.
        json.raw(",\"tag\":")
        json.string(push.challengeSID)
    }
}
