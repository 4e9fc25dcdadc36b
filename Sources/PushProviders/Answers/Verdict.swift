package import ChallengeModel

/// What a provider's answer means for one push.
package struct Verdict: Equatable {
    package var disposition: Disposition
    /// The provider's own word, or `HTTP <status>`.
    package var reason: String
    /// For `deferred`: milliseconds from now; the caller adds jitter.
    package var retryAfterMs: Int64 = 0
    /// Epoch milliseconds from APNs 410, else 0.
    package var tokenDiedAtMs: Int64 = 0
    package var providerMessageID = ""
    /// Renew the provider token and send it once more; the disposition holds when that is not possible.
    package var shouldReauthorize = false
    /// What the circuit breaker of credential and host makes of it.
    package var health = ProviderHealth.success

    package init(
        disposition: Disposition, reason: String, retryAfterMs: Int64 = 0, tokenDiedAtMs: Int64 = 0,
        providerMessageID: String = "", shouldReauthorize: Bool = false, health: ProviderHealth = .success
    ) {
        self.disposition = disposition
        self.reason = reason
        self.retryAfterMs = retryAfterMs
        self.tokenDiedAtMs = tokenDiedAtMs
        self.providerMessageID = providerMessageID
        self.shouldReauthorize = shouldReauthorize
        self.health = health
    }

    /// A waiting time is never longer, whatever a provider says: no challenge lives longer.
    package static let longestRetryMs: Int64 = 3_600_000
    package static let shortestRetryMs: Int64 = 100

    package static func deferred(_ reason: String, afterMs: Int64, _ health: ProviderHealth) -> Verdict {
        Verdict(
            disposition: .deferred, reason: reason,
            retryAfterMs: min(max(afterMs, shortestRetryMs), longestRetryMs), health: health)
    }
}
