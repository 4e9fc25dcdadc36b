/// What one push says of the provider; the circuit breaker of credential and host follows it.
package enum ProviderHealth: Equatable, Sendable {
    /// The provider answered and is well, whatever it said about this push.
    case success
    /// 5xx, no answer, or the connection was lost. - retryAfterMs: what the provider asked for, else 0.
    case failure(retryAfterMs: Int64)
    /// The credential was refused.
    case credentialFault
    /// The provider asks to stay away this long.
    case pause(ms: Int64)
    /// Nothing was learnt (it expired before it was sent).
    case neutral
}
