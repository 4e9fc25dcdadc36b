import ChallengeModel
import PushProviders

extension Verdict {
    /// What an end without an answer means. `unknown` only where headers left: all else may be sent again without
    /// doubt.
    /// - Parameter retryAfterMs: how long to stay away after the peer refused it.
    static func withoutAnswer(_ end: RequestEnd, retryAfterMs: Int64 = 0) -> Verdict {
        switch end {
        case .expired: Verdict(disposition: .dropped, reason: "expired", health: .neutral)
        case .withdrawn: .deferred("withdrawn", afterMs: 0, .neutral)
        case .unsent: .deferred("connection", afterMs: 1000, .failure(retryAfterMs: 0))
        case .refused: .deferred("connection", afterMs: max(retryAfterMs, 1000), .failure(retryAfterMs: 0))
        case .timedOut: Verdict(disposition: .unknown, reason: "timeout", health: .failure(retryAfterMs: 0))
        case .connectionLost: Verdict(disposition: .unknown, reason: "connection", health: .failure(retryAfterMs: 0))
        case .reset, .answered: Verdict(disposition: .unknown, reason: "reset", health: .failure(retryAfterMs: 0))
        }
    }
}
