import ChallengeModel
import Wire

/// The keys that every push carries, whichever the provider: what the app needs to fetch the challenge and to say "received".
/// No details, no secrets, no identity.
enum PushPayload {
    static let type: StaticString = "verify_push_challenge"

    /// `"type":"…","challenge_sid":"…",…` without braces.
    /// - Parameter message: the push's own, or as much of it as there is room for.
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

    /// The message, or if it is too long as many whole characters of it as fit before "…".
    /// - Parameters:
    ///   - room: bytes that it may take up.
    ///   - size: what bytes of it take up where they are written.
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

/// A push that cannot become a request; the word is the provider's own for the same fault, found here.
package struct UnfitPush: Error, Equatable {
    package var reason: String
}
