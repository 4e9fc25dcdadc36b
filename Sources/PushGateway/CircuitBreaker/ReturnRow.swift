/// The queue of retry slots for pushes that were kept back. The slots follow each other at half the rate of first
/// pushes. Together with these, the rate is one and a half times the usual rate until the queue is empty. A value
/// without a clock: the caller gives times in milliseconds of a steady clock.
/// There is one queue, however often the circuit breaker opens, because the rates of several queues would add up.
/// Challenges with different lives share its rate in proportion to their numbers, in separate parts (tails): one part
/// that is long enough for five minutes would leave no slots to challenges that live for one minute.
struct ReturnRow: Equatable, Sendable {
    /// The facts about a push that matter here.
    struct Push: Equatable, Sendable {
        /// Whether this is the first push of its challenge to a device. Other pushes follow from earlier ones and say
        /// nothing about the usual rate.
        var isFirst: Bool
        /// Whether the push is not repeated later (background pushes). It then takes no slot.
        var isOnlyNow = false
        /// Expiry of its challenge.
        var expiresAtMs: Int64
    }

    private struct Tail: Equatable, Sendable {
        /// Time of the last slot in microseconds.
        var lastUs: Int64 = 0
        /// The number of recent requests for a slot.
        var wishes = 0.0
    }

    /// Share of the usual rate at which pushes return, and the lowest rate per second.
    static let share = 0.5
    static let leastPerSecond = 10.0
    /// Upper limits of the remaining life for each tail, in milliseconds. One more tail is for longer lives.
    static let livesMs: [Int64] = [60_000, 180_000, 600_000]

    private var rate = PushRate()
    private var tails = [Tail](repeating: Tail(), count: Self.livesMs.count + 1)

    mutating func count(_ push: Push, nowMs: Int64) {
        if push.isFirst { rate.count(nowMs: nowMs) }
    }

    /// The next retry slot in the tail of the push. Nil when the slot would be in the last quarter of the challenge's
    /// remaining life: the person would not have time to answer, and the backend should be told now.
    mutating func turn(_ push: Push, notBeforeMs: Int64, nowMs: Int64) -> Int64? {
        guard !push.isOnlyNow else { return nil }
        let leftMs = push.expiresAtMs - nowMs
        let tail = Self.livesMs.firstIndex { leftMs <= $0 } ?? Self.livesMs.count
        tails[tail].wishes += 1
        let wishes = tails.reduce(0) { $0 + $1.wishes }
        // The share is never so small that one push waits for minutes after one other.
        let part = max(tails[tail].wishes / wishes, 1.0 / 16)
        if wishes >= 256 { for index in tails.indices { tails[index].wishes /= 2 } }
        let perSecond = max(rate.perSecond(nowMs: nowMs) * Self.share, Self.leastPerSecond) * part
        let turnUs = max(tails[tail].lastUs + Int64(1_000_000 / perSecond), notBeforeMs * 1000)
        guard turnUs / 1000 <= nowMs + leftMs - leftMs / 4 else { return nil }
        tails[tail].lastUs = turnUs
        return turnUs / 1000
    }
}

/// The number of pushes per second, smoothed over some seconds.
struct PushRate: Equatable, Sendable {
    private var smoothed: Double?
    private var sinceMs = Int64.min / 2
    private var counted = 0.0

    mutating func count(nowMs: Int64) {
        let elapsedMs = nowMs - sinceMs
        if elapsedMs > 10_000 {
            // The first push, or the first after a pause.
            self = PushRate()
            sinceMs = nowMs
        } else if elapsedMs >= 1000 {
            let measured = counted * 1000 / Double(elapsedMs)
            smoothed = smoothed.map { $0 * 0.7 + measured * 0.3 } ?? measured
            sinceMs = nowMs
            counted = 0
        }
        counted += 1
    }

    /// The rate. In the first second, it is computed from the pushes so far over at least a quarter of a second; 0
    /// without pushes.
    func perSecond(nowMs: Int64) -> Double {
        smoothed ?? (counted == 0 ? 0 : counted * 1000 / Double(max(nowMs - sinceMs, 250)))
    }
}
