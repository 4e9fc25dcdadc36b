import CryptoExtras
import DeviceKit
import Foundation
import Synchronization
import Wire

/// A refusal of Google's token endpoint.
struct OAuthError: Error, Sendable, Hashable {
    var error: String
    var description: String

    var body: [UInt8] {
        JSONValue.object([("error", .string(error)), ("error_description", .string(description))]).bytes
    }
}

/// What a token endpoint says when it grants: RFC 6749, section 5.1.
enum AccessTokenReply {
    static func body(token: String, lifeSeconds: Int64) -> [UInt8] {
        JSONValue.object([
            ("access_token", .string(token)), ("expires_in", .integer(lifeSeconds)), ("token_type", .string("Bearer")),
        ]).bytes
    }
}

/// The service accounts that may send, and the access tokens that were handed to them.
final class FCMAccounts: Sendable {
    private struct Account {
        var project: String
        var publicKey: _RSA.Signing.PublicKey
    }

    private struct Access {
        var project: String
        var untilSeconds: Int64
    }

    private struct State {
        var accounts: [String: Account] = [:]
        var access: [String: Access] = [:]
        var granted = 0
    }

    /// Most access tokens that are remembered; past it the ones that have run out are forgotten, then all.
    private static let mostAccess = 10_000
    private static let grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    private static let scopes: Set<Substring> = [
        "https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform",
    ]
    static let googleAudience = "https://oauth2.googleapis.com/token"

    private let state = Mutex(State())
    /// Of an access token, seconds.
    let accessLifeSeconds: Int64

    init(accessLifeSeconds: Int64) { self.accessLifeSeconds = accessLifeSeconds }

    func register(project: String, clientEmail: String, publicKey: _RSA.Signing.PublicKey) {
        state.withLock { $0.accounts[clientEmail] = Account(project: project, publicKey: publicKey) }
    }

    /// Forgets the account and what was granted to its project.
    func revoke(clientEmail: String) {
        state.withLock { state in
            guard let account = state.accounts.removeValue(forKey: clientEmail) else { return }
            state.access = state.access.filter { $0.value.project != account.project }
        }
    }

    /// Access tokens handed out so far.
    var granted: Int { state.withLock { $0.granted } }

    /// The project that a bearer may send for.
    func project(bearer authorization: String?, nowSeconds: Int64) throws(FCMError) -> String {
        guard let authorization, authorization.prefix(7).lowercased() == "bearer " else { throw .unauthenticated }
        let token = String(authorization.dropFirst(7))
        guard let access = state.withLock({ $0.access[token] }), nowSeconds < access.untilSeconds else {
            throw .unauthenticated
        }
        return access.project
    }

    /// The token endpoint: a form with `grant_type` and a signed `assertion`.
    /// - Parameter ownAudience: this endpoint's own URL, which an assertion may name instead of Google's.
    /// - Returns: the JSON reply.
    func grant(form: [UInt8], ownAudience: String, nowSeconds: Int64) throws(OAuthError) -> [UInt8] {
        guard let fields = try? Form(form) else {
            throw OAuthError(error: "invalid_request", description: "The body is not a form.")
        }
        guard fields["grant_type"] == Self.grantType else {
            throw OAuthError(error: "unsupported_grant_type", description: "Invalid grant_type")
        }
        guard let assertion = fields["assertion"] else {
            throw OAuthError(error: "invalid_request", description: "Missing parameter: assertion")
        }
        guard let jwt = CompactJWT(assertion, .reply) else {
            throw OAuthError(error: "invalid_grant", description: "Bad Request: the assertion is not a JWT")
        }
        let body = jwt.payload
        guard jwt.algorithm == "RS256" else {
            throw OAuthError(error: "invalid_grant", description: "Invalid JWT: the algorithm must be RS256")
        }
        guard let issuer = body["iss"]?.stringValue, let account = state.withLock({ $0.accounts[issuer] }) else {
            throw OAuthError(error: "invalid_grant", description: "Invalid grant: account not found")
        }
        guard
            account.publicKey.isValidSignature(
                _RSA.Signing.RSASignature(rawRepresentation: jwt.signature), for: jwt.signedBytes,
                padding: .insecurePKCS1v1_5)
        else { throw OAuthError(error: "invalid_grant", description: "Invalid JWT Signature.") }
        guard let audience = body["aud"]?.stringValue, audience == ownAudience || audience == Self.googleAudience else {
            throw OAuthError(error: "invalid_grant", description: "Invalid JWT: Failed audience check.")
        }
        // Both lie within an hour of now when all of this holds, so no number overflows.
        guard let issued = body["iat"]?.integerValue, let expires = body["exp"]?.integerValue, issued <= nowSeconds,
            expires > nowSeconds, issued >= nowSeconds - 3600, expires <= nowSeconds + 3600, expires - issued <= 3600
        else {
            throw OAuthError(
                error: "invalid_grant",
                description:
                    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
        }
        guard let scope = body["scope"]?.stringValue,
            !Self.scopes.isDisjoint(with: scope.split(separator: " "))
        else {
            throw OAuthError(error: "invalid_scope", description: "Invalid OAuth scope or ID token audience provided.")
        }
        let token = "ya29.simulated-" + Base64URL.encode((0..<32).map { _ in UInt8.random(in: 0...255) })
        state.withLock { state in
            if state.access.count >= Self.mostAccess {
                state.access = state.access.filter { $0.value.untilSeconds > nowSeconds }
                if state.access.count >= Self.mostAccess { state.access.removeAll() }
            }
            state.access[token] = Access(project: account.project, untilSeconds: nowSeconds + accessLifeSeconds)
            state.granted += 1
        }
        return AccessTokenReply.body(token: token, lifeSeconds: accessLifeSeconds)
    }
}
