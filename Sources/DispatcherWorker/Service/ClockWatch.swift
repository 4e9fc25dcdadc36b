import Synchronization

/// Checks whether this machine's clock agrees with other clocks: with the `Date` of providers' answers, which have
/// priority, or otherwise with the timestamps of records that were written a moment ago.
/// The clock decides about expiry. With a wrong clock, a worker would drop live challenges or push expired ones. Beyond
/// ``boundMs`` it therefore pushes and drops nothing and reports this, and the tracker tells the backend in time. Each
/// reading is stored as the difference between the other clock and the steady clock, so that correcting the clock ends
/// a hold at once, and setting it wrong begins one.
final class ClockWatch: Sendable {
    /// Of the other clock: a range, because an answer or a record is under way for a while.
    private struct Reading {
        /// The other's epoch minus our steady clock, in milliseconds.
        var low: Int64
        var high: Int64
        var atSteadyMs: Int64

        /// How far a clock with this epoch minus steady is ahead (above 0) or behind.
        func skew(of base: Int64) -> Int64 { base > high ? base - high : base < low ? base - low : 0 }
    }

    private struct State {
        var provider: Reading?
        /// The newest few: one writer whose clock is wrong among many decides nothing.
        var records: [Reading] = []
    }

    struct Verdict: Hashable {
        /// Milliseconds; above 0: this clock is ahead.
        var skewMs: Int64
        var isProviders: Bool
    }

    /// Records wait for up to 30 s in a producer whose broker is away, and have their time stamp by then.
    static let defaultBoundMs: Int64 = 60_000
    private static let mostRecords = 8
    /// No challenge lives longer, so nothing that could suffer is older than a reading.
    private static let keepMs: Int64 = 3_600_000

    private let boundMs: Int64
    private let state = Mutex(State())

    init(boundMs: Int64 = ClockWatch.defaultBoundMs) { self.boundMs = boundMs }

    /// An answer has come.
    /// - Parameters:
    ///   - dateMs: its `Date`, whole seconds.
    ///   - sentAtMs: when the request left, by our clock.
    func heard(dateMs: Int64, sentAtMs: Int64, now: Moment) {
        guard Self.isPlausible(dateMs) else { return }
        let underWayMs = min(max(now.epochMs - sentAtMs, 0), 60_000)
        let reading = Reading(
            low: dateMs - now.steadyMs, high: dateMs + 1000 - (now.steadyMs - underWayMs), atSteadyMs: now.steadyMs)
        state.withLock { $0.provider = reading }
    }

    /// A record was read.
    /// - Parameters:
    ///   - timestampMs: its writer's, or its broker's.
    ///   - appendedAfterSteadyMs: when its partition was known not to hold it yet; nil: never. Then it can only say
    ///     that we are behind.
    func read(timestampMs: Int64, appendedAfterSteadyMs: Int64?, now: Moment) {
        guard Self.isPlausible(timestampMs) else { return }
        let reading = Reading(
            low: timestampMs - now.steadyMs, high: appendedAfterSteadyMs.map { timestampMs - $0 } ?? .max,
            atSteadyMs: now.steadyMs)
        state.withLock { state in
            // What says nothing pushes out nothing that does.
            guard appendedAfterSteadyMs != nil || reading.skew(of: now.epochMs - now.steadyMs) < -boundMs else {
                return
            }
            if state.records.count >= Self.mostRecords { state.records.removeFirst() }
            state.records.append(reading)
        }
    }

    /// Nil: nothing is known.
    func verdict(now: Moment) -> Verdict? {
        state.withLock { state in
            let base = now.epochMs - now.steadyMs
            func isFresh(_ reading: Reading) -> Bool { now.steadyMs - reading.atSteadyMs < Self.keepMs }
            if let provider = state.provider, isFresh(provider) {
                return Verdict(skewMs: provider.skew(of: base), isProviders: true)
            }
            let skews = state.records.filter(isFresh).map { $0.skew(of: base) }.sorted { abs($0) < abs($1) }
            guard !skews.isEmpty else { return nil }
            return Verdict(skewMs: skews[skews.count / 2], isProviders: false)
        }
    }

    func isRight(now: Moment) -> Bool { verdict(now: now).map { abs($0.skewMs) <= boundMs } ?? true }

    /// What is wrong, for readiness; nil: nothing.
    func complaint(now: Moment) -> String? {
        guard let verdict = verdict(now: now), abs(verdict.skewMs) > boundMs else { return nil }
        let others = verdict.isProviders ? "the providers' clocks" : "the clocks of those who write to challenges"
        return
            "this machine's clock is \(abs(verdict.skewMs) / 1000) s \(verdict.skewMs > 0 ? "ahead of" : "behind") \(others), "
            + "the bound is \(boundMs / 1000) s: nothing is pushed and nothing dropped; set the clock (NTP)"
    }

    /// 2001 to 2096: sums of it and of a steady clock stay far from the ends of `Int64`.
    private static func isPlausible(_ epochMs: Int64) -> Bool {
        (1_000_000_000_000...4_000_000_000_000).contains(epochMs)
    }
}
