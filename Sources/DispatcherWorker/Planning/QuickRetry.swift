import ChallengeModel
import PushGateway
import PushProviders

/// Decides whether a push that was not accepted is tried once more in the lane, or left to the ack tracker.
struct QuickRetry: Sendable {
    /// The retry time of the provider or gateway must be within this time.
    var withinMs: Int64
    /// Life that the challenge must have left at that time.
    var leftMs: Int64

    /// The reason of an answer for a push that could not leave in time.
    static let withdrawn = "withdrawn"
    /// Shortest wait, because a connection that was just refused is not available a millisecond later.
    static let shortestMs: Int64 = 100

    /// - Returns: the wait in milliseconds; nil when the answer is the outcome.
    func delayMs(after answer: PushAnswer, expiresAtMs: Int64, nowMs: Int64) -> Int64? {
        guard answer.disposition == .deferred, Self.isWorthwhile(answer) else { return nil }
        let delay = max(Self.shortestMs, answer.retryAtMs - nowMs)
        guard delay <= withinMs, expiresAtMs - (nowMs + delay) >= leftMs else { return nil }
        return delay
    }

    /// What may have changed in a moment: a connection that went away before the request left, facts that were no
    /// longer recent when its turn came, an access token on its way, a moment's crowd, or a provider that restarts
    /// (APNs 500 and 503). What asks us to slow down (429), an open circuit and an unknown credential may not.
    private static func isWorthwhile(_ answer: PushAnswer) -> Bool {
        switch answer.status {
        case 0: ["connection", withdrawn, "busy", "access-token"].contains(answer.reason)
        case 500, 503: true
        default: false
        }
    }
}
