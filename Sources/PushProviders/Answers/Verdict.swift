package import ChallengeModel

/// The meaning of a provider's answer for one push.
package struct Verdict: Equatable {
    package var disposition: Disposition
    /// The provider's own reason, or `HTTP <status>`.
    package var reason: String
    /// Wait of a `deferred` push in milliseconds from now. The caller adds jitter.
    package var retryAfterMs: Int64 = 0
    /// The time in an APNs 410, in epoch milliseconds; otherwise 0.
    package var tokenDiedAtMs: Int64 = 0
    package var providerMessageID = ""
    /// True: renew the provider token and send the push once more. When that is not possible, the disposition counts.
    package var shouldReauthorize = false
    /// What the answer tells the circuit breaker of credential and host.
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

    /// The longest wait, whatever the provider asks for: no challenge lives longer.
    package static let longestRetryMs: Int64 = 3_600_000
    package static let shortestRetryMs: Int64 = 100

    package static func deferred(_ reason: String, afterMs: Int64, _ health: ProviderHealth) -> Verdict {
        Verdict(
            disposition: .deferred, reason: reason,
            retryAfterMs: min(max(afterMs, shortestRetryMs), longestRetryMs), health: health)
    }
}
