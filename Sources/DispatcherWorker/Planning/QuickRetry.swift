import ChallengeModel
import PushGateway
import PushProviders

/// Whether a push that was not taken is tried once more in the lane, or left to the ack tracker.
struct QuickRetry: Sendable {
    /// The provider's or gateway's time to try again must come within this.
    var withinMs: Int64
    /// What the challenge must have left at that time.
    var leftMs: Int64

    /// Not at once: a connection that was just refused is not there a millisecond later.
    static let shortestMs: Int64 = 100

    /// - Returns: how long to wait, in milliseconds; nil when the answer is the outcome.
    func delayMs(after answer: PushAnswer, expiresAtMs: Int64, nowMs: Int64) -> Int64? {
        guard answer.disposition == .deferred, Self.isWorthwhile(answer) else { return nil }
        let delay = max(Self.shortestMs, answer.retryAtMs - nowMs)
        guard delay <= withinMs, expiresAtMs - (nowMs + delay) >= leftMs else { return nil }
        return delay
    }

    /// What may have changed in a moment: a connection that went away before the request left, facts that were no longer recent
    /// when its turn came, an access token on its way, a
    /// moment's crowd, or a provider that restarts (APNs 500 and 503). What asks us to slow down (429), an open circuit and an
    /// unknown credential may not.
    private static func isWorthwhile(_ answer: PushAnswer) -> Bool {
        switch answer.status {
        case 0: ["connection", "withdrawn", "busy", "access-token"].contains(answer.reason)
        case 500, 503: true
        default: false
        }
    }
}
