import ChallengeModel
import Wire

/// An HMS app, and the request that gets an access token for it: Huawei, "OAuth 2.0-based Authentication", client
/// credentials.
struct HMSApp: AccessTokenSource {
    let path: String
    private let appID: String
    private let secret: String

    /// - Throws: ``UnusableCredential`` naming the field.
    init(_ app: HmsAppSecret) throws(UnusableCredential) {
        guard Self.isNumber(app.appID) else {
            throw UnusableCredential("app_id is not a number of AppGallery Connect")
        }
        guard (1...512).contains(app.appSecret.utf8.count) else {
            throw UnusableCredential("app_secret is missing, or longer than 512 bytes")
        }
        path = "/v1/\(app.appID)/messages:send"
        appID = app.appID
        secret = app.appSecret
    }

    func tokenRequest(audience: String, nowMs: Int64) throws -> String {
        "grant_type=client_credentials&client_id=\(appID)&client_secret=\(Percent.encode(secret))"
    }

    /// Up to 32 digits.
    static func isNumber(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count)
            && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }
}
