import ChallengeModel

/// What a provider's answer means for one push.
struct Verdict: Equatable {
    var disposition: Disposition
    /// The provider's own word, or `HTTP <status>`.
    var reason: String
    /// For `deferred`: milliseconds from now; the caller adds jitter.
    var retryAfterMs: Int64 = 0
    /// Epoch milliseconds from APNs 410, else 0.
    var tokenDiedAtMs: Int64 = 0
    var providerMessageID = ""
    /// Renew the provider token and send it once more; the disposition holds when that is not possible.
    var shouldReauthorize = false
    /// What the circuit breaker of credential and host makes of it.
    var health = CircuitBreaker.Event.success

    /// A waiting time is never longer, whatever a provider says: no challenge lives longer.
    static let longestRetryMs: Int64 = 3_600_000
    static let shortestRetryMs: Int64 = 100

    static func deferred(_ reason: String, afterMs: Int64, _ health: CircuitBreaker.Event) -> Verdict {
        Verdict(
            disposition: .deferred, reason: reason,
            retryAfterMs: min(max(afterMs, shortestRetryMs), longestRetryMs), health: health)
    }
}
