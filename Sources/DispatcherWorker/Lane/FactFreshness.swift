/// Tracks up to which time a lane knows all `receipts` and `resolutions`: Kafka is queried for their ends, and when
/// both topics were read up to these ends, the lane knows everything that was acknowledged before the query.
/// An attempt after the first, a push that a predecessor may have made, or one whose record is a second old, is sent
/// only while this time is recent.
/// Reading alone is not enough for the promise that no device gets a push more than a second after its receipt was
/// acknowledged: on a busy machine readers fall behind without noticing.
struct FactFreshness: Sendable {
    /// Half of the promised second. The other half is for the path from the lane to the socket, see ``leaveByMs(_:)``.
    static let recentMs: Int64 = 500
    static let promisedMs: Int64 = 1000
    /// A push that has waited for this long is sent with the known facts, so that redelivery does not stop when Kafka
    /// cannot report the ends of its topics.
    static let longestHoldMs: Int64 = 5000
    /// A query whose ends are not reached in this time is replaced by a newer one, because the log may have been cut.
    static let patienceMs: Int64 = 3000

    private var wholeUntilMs: Int64?
    /// Since when pushes have waited and no question was answered.
    private var missedSinceMs: Int64?
    private var question: (askedAtMs: Int64, receipts: Int64, resolutions: Int64)?

    /// Sets the ends from a query at a time in steady milliseconds. They are ignored while the ends of an earlier query
    /// are not reached, so that slow readers can reach them.
    mutating func ask(atMs: Int64, receipts: Int64, resolutions: Int64) {
        if let question, atMs - question.askedAtMs < Self.patienceMs { return }
        question = (atMs, receipts, resolutions)
    }

    /// Call it with the offsets up to which both topics were read.
    mutating func reach(receipts: Int64, resolutions: Int64) {
        guard let asked = question, receipts >= asked.receipts, resolutions >= asked.resolutions else { return }
        wholeUntilMs = asked.askedAtMs
        question = nil
        missedSinceMs = nil
    }

    /// Call it when a push waits for more recent facts.
    mutating func miss(steadyMs: Int64) { missedSinceMs = missedSinceMs ?? steadyMs }

    /// Call it when nothing may be pushed for another reason.
    mutating func forgive() { missedSinceMs = nil }

    /// Whether facts have been missing for so long that pushes no longer wait for them. This is the lane's time, not
    /// that of each push: otherwise a lane without facts would pass one window of pushes every five seconds.
    func isLost(steadyMs: Int64) -> Bool { missedSinceMs.map { steadyMs - $0 >= Self.longestHoldMs } ?? false }

    func isRecent(steadyMs: Int64) -> Bool { wholeUntilMs.map { steadyMs - $0 <= Self.recentMs } ?? false }

    /// Time in epoch milliseconds until which a push that is handed over now may be sent.
    func leaveByMs(_ now: Moment) -> Int64 {
        now.epochMs + max(0, (wholeUntilMs ?? now.steadyMs) + Self.promisedMs - now.steadyMs)
    }
}
