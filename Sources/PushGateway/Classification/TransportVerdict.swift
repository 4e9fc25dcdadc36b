import ChallengeModel

extension Verdict {
    /// What an end without an answer means. `unknown` only where headers left: all else may be sent again without doubt.
    static func withoutAnswer(_ end: RequestEnd) -> Verdict {
        switch end {
        case .expired: Verdict(disposition: .dropped, reason: "expired", health: .neutral)
        case .withdrawn: .deferred("withdrawn", afterMs: 0, .neutral)
        case .unsent, .refused: .deferred("connection", afterMs: 1000, .failure(retryAfterMs: 0))
        case .timedOut: Verdict(disposition: .unknown, reason: "timeout", health: .failure(retryAfterMs: 0))
        case .connectionLost: Verdict(disposition: .unknown, reason: "connection", health: .failure(retryAfterMs: 0))
        case .reset, .answered: Verdict(disposition: .unknown, reason: "reset", health: .failure(retryAfterMs: 0))
        }
    }
}
