package import ChallengeModel

/// A credential of one provider, ready to send pushes. Its provider's folder writes requests and judges answers; the
/// gateway does everything in between in the same way for all providers.
package protocol OpenCredential: Sendable {
    /// The platform of its provider.
    var platform: Platform { get }
    /// The endpoints that its pushes go to. Each endpoint has its own connections, limits and circuit breaker.
    var ways: [ProviderEndpoint] { get }
    var proof: CredentialProof { get }
    /// True when the provider allows only one stream on a connection until it has answered the first request.
    var startsWithOneStream: Bool { get }

    /// The index of the endpoint in ``ways`` for a push. Called for each push when there are several.
    func way(of push: Push) -> Int

    /// Writes header fields and body. The gateway adds the authorization. Called for each push.
    func write(_ push: Push, nowMs: Int64, to request: PushRequest) throws(UnfitPush)

    /// Judges an answer of the provider. A pure function.
    func verdict(on answer: ProviderAnswer) -> Verdict
}

extension OpenCredential {
    package var startsWithOneStream: Bool { false }
    package func way(of push: Push) -> Int { 0 }
}

/// The way in which a credential authenticates Beckon to the provider.
package enum CredentialProof: Sendable {
    /// The TLS client certificate of the connection.
    case clientCertificate(certificatePEM: String, keyPEM: String)
    /// A token that Beckon signs.
    case signed(any BearerSigner)
    /// An access token, which the gateway fetches from the endpoint.
    case accessToken(any AccessTokenSource, from: ProviderEndpoint)
}

/// Signs the bearer tokens of one key.
package protocol BearerSigner: Sendable {
    /// The value of `authorization`. Returns the same value as long as it may be used. Called for each push.
    func bearer(nowMs: Int64) throws -> SharedBytes
    /// A new token instead of `refused`, which the provider reported as expired; nil when no new token is possible now.
    func renewed(refused: SharedBytes, nowMs: Int64) throws -> SharedBytes?
}

/// Writes the token request that exchanges a service account's assertion, or an app's secret, for an access token.
package protocol AccessTokenSource: Sendable {
    /// The form body of the token request.
    /// - Parameter audience: the endpoint's URL.
    func tokenRequest(audience: String, nowMs: Int64) throws -> String
}

/// A credential that cannot be used.
package struct UnusableCredential: Error, CustomStringConvertible {
    /// Names the field and the fault. It contains no secrets.
    package var description: String

    package init(_ description: String) { self.description = description }
}
