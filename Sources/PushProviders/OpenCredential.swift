package import ChallengeModel

/// A credential of one provider, ready to send with. What the gateway does with a push in between is the same for all.
package protocol OpenCredential: Sendable {
    /// Of its provider.
    var platform: Platform { get }
    /// Where its pushes go; each endpoint has its own connections, limits and circuit breaker.
    var ways: [ProviderEndpoint] { get }
    var proof: CredentialProof { get }
    /// The provider allows a connection one stream until it has answered the first request.
    var startsWithOneStream: Bool { get }

    /// Which of ``ways`` a push takes. Asked for each push when there are several.
    func way(of push: Push) -> Int

    /// Writes fields and body; the authorization is added by the gateway. Called for each push.
    func write(_ push: Push, nowMs: Int64, to request: PushRequest) throws(UnfitPush)

    /// What an answer means. Pure.
    func verdict(on answer: ProviderAnswer) -> Verdict
}

extension OpenCredential {
    package var startsWithOneStream: Bool { false }
    package func way(of push: Push) -> Int { 0 }
}

/// How a credential says who we are.
package enum CredentialProof: Sendable {
    /// By the connection's TLS certificate.
    case clientCertificate(certificatePEM: String, keyPEM: String)
    /// By a token that we sign.
    case signed(any BearerSigner)
    /// By an access token, which the gateway fetches there.
    case accessToken(any AccessTokenSource, from: ProviderEndpoint)
}

/// Signs the bearer tokens of one key.
package protocol BearerSigner: Sendable {
    /// The value of `authorization`; the same one while it may be used. Called for each push.
    func bearer(nowMs: Int64) throws -> SharedBytes
    /// Another token than `refused`, which the provider called expired; nil when there is none to be had.
    func renewed(refused: SharedBytes, nowMs: Int64) throws -> SharedBytes?
}

/// Buys an access token: what a service account's assertion or an app's secret looks like in a token request.
package protocol AccessTokenSource: Sendable {
    /// The form body.
    /// - Parameter audience: the endpoint's URL.
    func tokenRequest(audience: String, nowMs: Int64) throws -> String
}

/// A credential that cannot be used.
package struct UnusableCredential: Error, CustomStringConvertible {
    /// Names the field, and says what is wrong with it; without secrets.
    package var description: String

    package init(_ description: String) { self.description = description }
}
