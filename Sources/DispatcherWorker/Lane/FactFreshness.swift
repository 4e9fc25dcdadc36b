/// Until when what a lane knows of `receipts` and `resolutions` is whole: Kafka is asked where they end, and once both are
/// read up to there, everything that was acknowledged before the question is known.
///
/// A later attempt, or a push that a predecessor may have made, leaves only while that is recent. Reading along is not enough for the promise that no device is pushed to
/// a second after its receipt was acknowledged: on a busy machine readers fall behind without a sign of it.
struct FactFreshness: Sendable {
    /// Half of the promised second; the other half is for the way from the lane to the socket, see ``leaveByMs(_:)``.
    static let recentMs: Int64 = 500
    static let promisedMs: Int64 = 1000
    /// What has waited for this long goes with what is known: a Kafka that cannot say where its topics end must not end
    /// redelivery.
    static let longestHoldMs: Int64 = 5000
    /// A question whose ends are not reached in this time gives way to a newer one: they may be those of a log that was cut.
    static let patienceMs: Int64 = 3000

    private var wholeUntilMs: Int64?
    private var question: (askedAtMs: Int64, receipts: Int64, resolutions: Int64)?

    /// The ends as asked at a time, steady milliseconds. While an earlier question is not met this one is not heard, so that
    /// readers who are behind get there.
    mutating func ask(atMs: Int64, receipts: Int64, resolutions: Int64) {
        if let question, atMs - question.askedAtMs < Self.patienceMs { return }
        question = (atMs, receipts, resolutions)
    }

    /// Both were read up to here.
    mutating func reach(receipts: Int64, resolutions: Int64) {
        guard let asked = question, receipts >= asked.receipts, resolutions >= asked.resolutions else { return }
        wholeUntilMs = asked.askedAtMs
        question = nil
    }

    func isRecent(steadyMs: Int64) -> Bool { wholeUntilMs.map { steadyMs - $0 <= Self.recentMs } ?? false }

    /// Epoch milliseconds until which something that is handed over now may leave.
    func leaveByMs(_ now: Moment) -> Int64 {
        now.epochMs + max(0, (wholeUntilMs ?? now.steadyMs) + Self.promisedMs - now.steadyMs)
    }
}
