import ChallengeModel

/// Push Kit of Huawei Mobile Services (HMS).
struct HMS: PushProvider {
    let platform = Platform.hms
    let word = "hms"
    let endpoints: [ProviderEndpoint] = [.hms, .hmsToken]
    /// `bi_tag`, at most 64 bytes.
    let traits = ProviderTraits(returnsReceiptTags: true)

    func readCredential(
        _ parameters: inout some CredentialParameters
    ) throws(ParameterFault) -> ProviderCredential.OneOf_Secret {
        var app = HmsAppSecret()
        app.appID = try Self.appID(try parameters.required("AppId"))
        app.appSecret = try parameters.required("AppSecret", .line, length: 1...256)
        return .hms(app)
    }

    /// Reads `AppId`, the number of the app.
    static func appID(_ text: String) throws(ParameterFault) -> String {
        guard HMSApp.isNumber(text) else { throw ParameterFault("AppId", "the app's number, up to 32 digits") }
        return text
    }

    func open(_ secret: ProviderCredential.OneOf_Secret) throws -> (any OpenCredential)? {
        guard case .hms(let app) = secret else { return nil }
        return HMSCredential(app: try HMSApp(app))
    }

    func isTokenUnknown(_ reason: String) -> Bool { reason == "80300007" }

    /// The original API has no codes for HMS.
    func errorCode(of failure: PushFailure) -> UInt32 { failure.unnamedCode }
}

extension ProviderEndpoint {
    public static let hms = ProviderEndpoint(
        setting: "hms.url", url: "https://push-api.cloud.huawei.com:443", summary: "HMS Push Kit.")
    public static let hmsToken = ProviderEndpoint(
        setting: "hms.tokenUrl", kind: .accessTokens, url: "https://oauth-login.cloud.huawei.com/oauth2/v3/token",
        summary: "The only endpoint that gets the secret of an HMS app.")
}

/// The secret of an HMS app.
struct HMSCredential: OpenCredential {
    let platform = Platform.hms
    let ways: [ProviderEndpoint] = [.hms]
    let app: HMSApp

    init(app: HMSApp) { self.app = app }

    var proof: CredentialProof { .accessToken(app, from: .hmsToken) }

    func write(_ push: Push, nowMs: Int64, to request: PushRequest) throws(UnfitPush) {
        try HMSRequest.write(push, path: app.path, nowMs: nowMs, to: request)
    }

    func verdict(on answer: ProviderAnswer) -> Verdict {
        HMSClassification.verdict(
            status: answer.status, body: answer.body, retryAfter: answer.retryAfter, nowMs: answer.nowMs)
    }
}
