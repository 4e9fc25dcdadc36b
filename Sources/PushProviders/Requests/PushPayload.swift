import ChallengeModel
import Wire

/// The members that every push carries, for every provider. The app needs them to fetch the challenge and to send a
/// receipt. They contain no details, no secrets and no identity.
enum PushPayload {
    static let type: StaticString = "verify_push_challenge"

    /// `"type":"…","challenge_sid":"…",…` without braces.
    /// - Parameter message: the push's message, or as much of it as fits.
    static func writeMembers(of push: Push, message: String, with json: PayloadWriter) {
        json.raw("\"type\":\"verify_push_challenge\",\"challenge_sid\":")
        json.string(push.challengeSID)
        json.raw(",\"factor_sid\":")
        json.string(push.factorSID)
        json.raw(",\"message\":")
        json.string(message)
        json.raw(",\"dispatch\":")
        json.string(push.dispatchID)
        json.raw(",\"expires_at\":\"")
        json.request.append(rfc3339: push.expiresAtMs)
        json.raw("\",\"receipt_token\":")
        json.string(push.receiptToken)
        json.raw(push.kind == .background ? ",\"kind\":\"background\"" : ",\"kind\":\"visible\"")
    }

    /// The message. A message that is too long is cut to as many whole characters as fit before "…".
    /// - Parameters:
    ///   - room: maximum number of bytes.
    ///   - size: the number of bytes that a part of the message takes where it is written.
    static func fitting(
        _ message: String, _ room: Int, size: (any Collection<UInt8>) -> Int = { JSONText.size(of: $0) }
    )
        -> String
    {
        var taken = size(message.utf8)
        if taken <= room { return message }
        var left = message[...]
        taken += size("…".utf8)
        while taken > room, let last = left.popLast() { taken -= size(last.utf8) }
        return left + "…"
    }
}

/// A push that cannot become a request. The reason is the provider's own word for the fault, although Beckon found it.
package struct UnfitPush: Error, Equatable {
    package var reason: String
}
