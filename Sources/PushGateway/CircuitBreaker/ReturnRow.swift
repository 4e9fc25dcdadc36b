/// When pushes that were kept back are to come again: one after the other, half as fast as first pushes come. With those that is one
/// and a half times the usual rate until the row has passed. A value without a clock: times are milliseconds given by the caller, of a
/// clock that nobody sets.
///
/// There is one row, however often the circuit opens; several beside each other would add up. Challenges of different lives share its rate in
/// the proportion in which they come, each with a tail of its own: a tail as long as five minutes allow would leave no turn to those that
/// live for one.
struct ReturnRow: Equatable, Sendable {
    /// What matters of a push here.
    struct Push: Equatable, Sendable {
        /// The first to a device about its challenge. The others come again because of earlier ones, and say nothing about the usual rate.
        var isFirst: Bool
        /// Nobody sends it again later (background pushes): it takes no turn.
        var isOnlyNow = false
        /// Of its challenge.
        var expiresAtMs: Int64
    }

    private struct Tail: Equatable, Sendable {
        /// When the last one is to come again, microseconds.
        var lastUs: Int64 = 0
        /// Wishes of late.
        var wishes = 0.0
    }

    /// Share of the usual rate at which they come again; and the least, per second.
    static let share = 0.5
    static let leastPerSecond = 10.0
    /// A tail for what lives up to so many milliseconds, and one for what lives longer.
    static let livesMs: [Int64] = [60_000, 180_000, 600_000]

    private var rate = PushRate()
    private var tails = [Tail](repeating: Tail(), count: Self.livesMs.count + 1)

    mutating func count(_ push: Push, nowMs: Int64) {
        if push.isFirst { rate.count(nowMs: nowMs) }
    }

    /// A turn at the end of its tail. Nil when that is in the last quarter of what the challenge has left: nobody would have the time to answer,
    /// and the backend is to know now rather than then.
    mutating func turn(_ push: Push, notBeforeMs: Int64, nowMs: Int64) -> Int64? {
        guard !push.isOnlyNow else { return nil }
        let leftMs = push.expiresAtMs - nowMs
        let tail = Self.livesMs.firstIndex { leftMs <= $0 } ?? Self.livesMs.count
        tails[tail].wishes += 1
        let wishes = tails.reduce(0) { $0 + $1.wishes }
        // Never so few that one waits for minutes behind one other.
        let part = max(tails[tail].wishes / wishes, 1.0 / 16)
        if wishes >= 256 { for index in tails.indices { tails[index].wishes /= 2 } }
        let perSecond = max(rate.perSecond(nowMs: nowMs) * Self.share, Self.leastPerSecond) * part
        let turnUs = max(tails[tail].lastUs + Int64(1_000_000 / perSecond), notBeforeMs * 1000)
        guard turnUs / 1000 <= nowMs + leftMs - leftMs / 4 else { return nil }
        tails[tail].lastUs = turnUs
        return turnUs / 1000
    }
}

/// How many come a second, smoothed over some seconds.
struct PushRate: Equatable, Sendable {
    private var smoothed: Double?
    private var sinceMs = Int64.min / 2
    private var counted = 0.0

    mutating func count(nowMs: Int64) {
        let elapsedMs = nowMs - sinceMs
        if elapsedMs > 10_000 {
            // The first, or the first after a quiet.
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

    /// In the first second what came so far, as if it had been a quarter of a second at least; 0 when nothing came.
    func perSecond(nowMs: Int64) -> Double {
        smoothed ?? (counted == 0 ? 0 : counted * 1000 / Double(max(nowMs - sinceMs, 250)))
    }
}
