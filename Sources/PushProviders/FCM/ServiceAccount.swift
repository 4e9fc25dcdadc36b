import ChallengeModel
import CryptoExtras
import Foundation
import Wire

/// A Google service account's key, and the assertion that it signs: RFC 7523, and Google, "Using OAuth 2.0 for server
/// to server applications".
struct ServiceAccount: AccessTokenSource {
    static let scope = "https://www.googleapis.com/auth/firebase.messaging"
    /// The longest life that Google allows.
    static let lifeSeconds: Int64 = 3600

    let path: String
    private let clientEmail: String
    private let keyID: String
    private let key: _RSA.Signing.PrivateKey

    /// - Throws: ``UnusableCredential`` naming the field.
    init(_ secret: FcmServiceAccount) throws {
        let isProject = secret.projectID.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: ":"),
                UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard !secret.projectID.isEmpty, isProject, secret.projectID.utf8.count <= 128 else {
            throw UnusableCredential("project_id is not a Google project id")
        }
        guard !secret.clientEmail.isEmpty else {
            throw UnusableCredential("client_email is missing")
        }
        do {
            key = try _RSA.Signing.PrivateKey(pemRepresentation: secret.privateKeyPem)
        } catch {
            throw UnusableCredential("private_key_pem is not an RSA key of 2,048 bits or more in PEM")
        }
        path = "/v1/projects/\(secret.projectID)/messages:send"
        clientEmail = secret.clientEmail
        keyID = secret.privateKeyID
    }

    /// The form body of the token request.
    func tokenRequest(audience: String, nowMs: Int64) throws -> String {
        let issuedAt = nowMs / 1000
        var header: [(name: String, value: JSONValue)] = [("alg", .string("RS256"))]
        if !keyID.isEmpty { header.append(("kid", .string(keyID))) }
        header.append(("typ", .string("JWT")))
        let claims = JSONValue.object([
            ("aud", .string(audience)), ("exp", .integer(issuedAt + Self.lifeSeconds)), ("iat", .integer(issuedAt)),
            ("iss", .string(clientEmail)), ("scope", .string(Self.scope)),
        ])
        let assertion = try CompactJWT.signed(header: JSONValue.object(header).bytes, payload: claims.bytes) {
            try key.signature(for: $0, padding: .insecurePKCS1v1_5).rawRepresentation
        }
        return "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=\(assertion)"
    }
}
