import ChallengeModel
import Wire

/// An app of HMS, and the request that buys an access token for it: Huawei, "OAuth 2.0-based Authentication", client
/// credentials.
struct HMSApp: AccessTokenSource {
    let path: String
    private let appID: String
    private let secret: String

    /// - Throws: ``PushGatewayError`` naming the field.
    init(_ app: HmsAppSecret) throws(PushGatewayError) {
        guard (1...32).contains(app.appID.utf8.count),
            app.appID.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { throw PushGatewayError(code: .credential, message: "app_id is not a number of AppGallery Connect") }
        guard (1...512).contains(app.appSecret.utf8.count) else {
            throw PushGatewayError(code: .credential, message: "app_secret is missing, or longer than 512 bytes")
        }
        path = "/v1/\(app.appID)/messages:send"
        appID = app.appID
        secret = app.appSecret
    }

    func tokenRequest(audience: String, nowMs: Int64) throws -> String {
        "grant_type=client_credentials&client_id=\(appID)&client_secret=\(Percent.encode(secret))"
    }
}
