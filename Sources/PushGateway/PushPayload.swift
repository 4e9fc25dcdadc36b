import ChallengeModel

/// The keys that every push carries, whichever the provider: what the app needs to fetch the challenge and to say "received".
/// No details, no secrets, no identity.
enum PushPayload {
    static let type: StaticString = "verify_push_challenge"

    /// `"type":"…","challenge_sid":"…",…` without braces.
    static func writeMembers(of push: Push, with json: JSONWriter) {
        json.raw("\"type\":\"verify_push_challenge\",\"challenge_sid\":")
        json.string(push.challengeSID)
        json.raw(",\"factor_sid\":")
        json.string(push.factorSID)
        json.raw(",\"message\":")
        json.string(push.message)
        json.raw(",\"dispatch\":")
        json.string(push.dispatchID)
        json.raw(",\"expires_at\":\"")
        json.request.append(rfc3339: push.expiresAtMs)
        json.raw("\",\"receipt_token\":")
        json.string(push.receiptToken)
        json.raw(push.kind == .background ? ",\"kind\":\"background\"" : ",\"kind\":\"visible\"")
    }
}

/// A push that cannot become a request; the word is the provider's own for the same fault, found here.
struct UnfitPush: Error, Equatable {
    var reason: String
}
