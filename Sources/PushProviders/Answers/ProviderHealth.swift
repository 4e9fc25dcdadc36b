/// What the result of one push says about the provider. The circuit breaker of credential and host reacts to it.
package enum ProviderHealth: Equatable, Sendable {
    /// The provider answered and works, whatever its answer to this push was.
    case success
    /// 5xx, no answer, or a lost connection. `retryAfterMs` is the time that the provider asked for, else 0.
    case failure(retryAfterMs: Int64)
    /// The credential was refused.
    case credentialFault
    /// The provider asks for a pause of this length.
    case pause(ms: Int64)
    /// The push says nothing about the provider, for example because it expired before it was sent.
    case neutral
}
