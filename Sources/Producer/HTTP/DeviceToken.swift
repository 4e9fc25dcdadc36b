import ChallengeModel
import Challenges
import Wire

/// The JWT that authenticates a request of a device: header `typ`, `alg`, `cty`, `kid`; claims `sub`, `nbf`, `exp`. It
/// is not bound to a URL or a body. The answer to a challenge has its own signature.
struct DeviceToken: Sendable {
    /// The published SDKs create tokens with a life of 600 s.
    static let maxLifeSeconds: Int64 = 600
    /// Tolerance for a device's clock that is ahead, and for a longer life.
    static let leewaySeconds: Int64 = 60

    private let jwt: CompactJWT
    /// The factor's key id.
    let keyID: String

    /// - Throws: 20160 for a text that is not a JWT, 20152 for a header that differs from the SDKs'.
    init(_ text: String) throws(APIError) {
        guard let jwt = CompactJWT(text) else {
            throw APIError(.invalidToken, "Invalid token: expected a compact JWT as the password")
        }
        guard jwt.isES256 else { throw APIError(.deviceHeader, "Invalid token header: expected alg ES256") }
        guard jwt.header["typ"]?.stringValue == "JWT" else {
            throw APIError(.deviceHeader, "Invalid token header: expected typ JWT")
        }
        guard jwt.header["cty"]?.stringValue == "twilio-pba;v=1" else {
            throw APIError(.deviceHeader, "Invalid token header: expected cty twilio-pba;v=1")
        }
        guard let keyID = jwt.header["kid"]?.stringValue, !keyID.isEmpty, keyID.utf8.count <= 64 else {
            throw APIError(.deviceHeader, "Invalid token header: expected the factor's config.credential_sid as kid")
        }
        self.jwt = jwt
        self.keyID = keyID
    }

    /// A request that changes something, with this token. The token is identified by its signed text and the numbers of
    /// its signature. Another base64 spelling, or the second valid form of every ECDSA signature, is therefore the same
    /// token.
    func request(_ request: [UInt8]) -> TokenUse {
        let now = Int64(1) << 40
        let expiry = min(max(jwt.payload["exp"]?.integerValue ?? 0, 0), now)
        return TokenUse(fingerprint: jwt.fingerprint, request: request, expiresAtMs: expiry * 1000)
    }

    /// - Parameters:
    ///   - factor: the one that ``keyID`` names.
    ///   - isSignatureKnown: true when the factor's key has already verified this token.
    /// - Throws: 20159 signature, 20153 subject, 20154 claims missing, 20155 not yet valid, 20156 expired, 20157 life
    ///   too long.
    func check(factor: Factor, isSignatureKnown: Bool = false, nowMs: Int64) throws(APIError) {
        guard isSignatureKnown || jwt.isSigned(by: factor.publicKey) else {
            throw APIError(.deviceSignature, "Invalid token signature")
        }
        guard jwt.payload["sub"]?.stringValue == factor.account.rawValue else {
            throw APIError(.deviceSubject, "Invalid token subject: expected the factor's account_sid as sub")
        }
        guard let notBefore = jwt.payload["nbf"]?.integerValue, let expiry = jwt.payload["exp"]?.integerValue else {
            throw APIError(.deviceClaims, "Invalid token claims: expected whole seconds as nbf and exp")
        }
        let now = nowMs / 1000
        guard expiry > now else {
            throw APIError(.deviceExpired, "The token has expired: set the clock by the header Date")
        }
        guard notBefore <= now + Self.leewaySeconds else {
            throw APIError(.deviceNotYetValid, "The token is not valid yet: set the clock by the header Date")
        }
        let (life, overflow) = expiry.subtractingReportingOverflow(notBefore)
        guard !overflow, life <= Self.maxLifeSeconds + Self.leewaySeconds else {
            throw APIError(.deviceLifeTooLong, "The token's life is too long: expected exp at most 600 s after nbf")
        }
    }
}
