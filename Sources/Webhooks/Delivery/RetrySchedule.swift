import Wire

/// When a delivery that has failed is tried again: dense within the first hour, then sparse, for 24 hours from the
/// first failure.
enum RetrySchedule {
    /// Seconds from one try to the next.
    static let seconds: [Int64] = [
        1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 28_800,
    ]
    /// From the first failure; then it is given up.
    static let longestMs: Int64 = 24 * 3_600_000

    /// - Parameters:
    ///   - failures: tries that have failed, 1 or more.
    ///   - firstFailureMs: when the first one did.
    ///   - retryAfter: what the receiver asked for.
    ///   - random: 0 up to 1; spreads what failed together.
    /// - Returns: epoch milliseconds, always later than `nowMs`; nil: it is given up.
    static func next(
        failures: Int, firstFailureMs: Int64, nowMs: Int64, retryAfter: Duration?, random: Double
    ) -> Int64? {
        let index = min(max(failures, 1), seconds.count) - 1
        let base = seconds[index] * 1000
        let at: Int64
        if let retryAfter {
            // Never sooner than asked, so that the spread only adds.
            let asked = min(retryAfter, .seconds(86_400)).wholeMilliseconds
            at = nowMs + max(asked, base) + Int64(Double(base) * 0.2 * random)
        } else {
            at = nowMs + max(100, Int64(Double(base) * (0.8 + 0.4 * random)))
        }
        let endMs = firstFailureMs + longestMs
        // A clock that was set back must not prolong it for ever, nor one that was set forward end it at once.
        guard failures < seconds.count + 50, at <= endMs else { return nil }
        return max(at, nowMs + 1)
    }
}
