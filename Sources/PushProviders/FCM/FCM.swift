import ChallengeModel

/// Firebase Cloud Messaging, HTTP v1 API.
struct FCM: PushProvider {
    let platform = Platform.fcm
    let word = "fcm"
    let endpoints: [ProviderEndpoint] = [.fcm, .fcmToken]

    func readCredential(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret {
        .fcm(try FCMCredentialRules.serviceAccount(try parameters.required("ServiceAccount", .lines)))
    }

    func open(_ secret: ProviderCredential.OneOf_Secret) throws -> (any OpenCredential)? {
        guard case .fcm(let account) = secret else { return nil }
        return FCMCredential(account: try ServiceAccount(account))
    }

    func isTokenUnknown(_ reason: String) -> Bool { reason == "SENDER_ID_MISMATCH" }

    func errorCode(of failure: PushFailure) -> UInt32 {
        switch failure.reason {
        case "UNREGISTERED": 52103
        case "INVALID_ARGUMENT": 52102
        case "SENDER_ID_MISMATCH": 52104
        case "THIRD_PARTY_AUTH_ERROR", "UNAUTHENTICATED", "PERMISSION_DENIED", "SERVICE_DISABLED": 52109
        case "QUOTA_EXCEEDED": 52108
        case "UNAVAILABLE", "INTERNAL": 52110
        default: failure.code(dead: 52103, credential: 52109, tooLarge: 52106, other: 52111)
        }
    }
}

extension ProviderEndpoint {
    public static let fcm = ProviderEndpoint(
        setting: "fcm.url", url: "https://fcm.googleapis.com:443", summary: "FCM v1.")
    public static let fcmToken = ProviderEndpoint(
        setting: "fcm.tokenUrl", kind: .accessTokens, url: "https://oauth2.googleapis.com/token",
        summary: "The only endpoint that gets the assertion of a service account.")
}

/// A service account of a Firebase project.
struct FCMCredential: OpenCredential {
    let platform = Platform.fcm
    let ways: [ProviderEndpoint] = [.fcm]
    let account: ServiceAccount

    init(account: ServiceAccount) { self.account = account }

    var proof: CredentialProof { .accessToken(account, from: .fcmToken) }

    func write(_ push: Push, nowMs: Int64, to request: PushRequest) throws(UnfitPush) {
        try FCMRequest.write(push, path: account.path, nowMs: nowMs, to: request)
    }

    func verdict(on answer: ProviderAnswer) -> Verdict {
        FCMClassification.verdict(
            status: answer.status, body: answer.body, retryAfter: answer.retryAfter, nowMs: answer.nowMs)
    }
}
