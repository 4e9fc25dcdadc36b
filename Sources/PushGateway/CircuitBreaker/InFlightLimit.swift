import PushProviders

/// Limits how many pushes of one credential may be outstanding at one provider host. A value without a clock: the
/// caller gives times in milliseconds of a steady clock.
/// It starts at its ceiling. Pushes are counted by the quarter of a second in which they were sent. The limit is
/// halved, at most once per quarter of a second, when more than an eighth of them failed (5xx, a 429 of the whole
/// provider, no answer, a lost connection), or when more than a quarter is unanswered long after the usual answer time.
/// A good quarter of a second adds a step.
/// Late answers alone lower the limit at most to half of the ceiling: a provider that is slow but answers needs more
/// outstanding pushes for the same rate, not fewer.
struct InFlightLimit {
    struct Settings: Equatable, Sendable {
        var ceiling = 1000
        /// Lowest limit. Some pushes must be sent, to learn about the provider.
        var fewest = 32
        var periodMs: Int64 = 250
        /// An answer is late after eight times the usual answer time, but not earlier and not later than these two
        /// times.
        var earliestLateMs: Int64 = 1500
        var latestLateMs: Int64 = 4000
        /// Failures of pushes that were sent longer ago are not counted.
        var memoryMs: Int64 = 15_000
    }

    private struct Period {
        var entered = 0
        var open = 0
        var failed = 0
    }

    private let settings: Settings
    private let floor: Int
    private let step: Int
    private(set) var limit: Int
    private(set) var inFlight = 0
    /// A ring buffer: the period `number` is at `number % count`.
    private var periods: [Period]
    /// The number of the current period, counted from the epoch.
    private var number: Int64 = 0
    private var answered = 0
    private var answeredMs: Int64 = 0
    private var isBad = false
    /// The usual answer time. It follows a decrease within a second, and an increase within 16.
    private var usualMs = 0.0

    init(settings: Settings = Settings()) {
        self.settings = settings
        floor = min(settings.fewest, settings.ceiling)
        step = max(1, settings.ceiling / 32)
        limit = settings.ceiling
        periods = Array(repeating: Period(), count: Int(settings.memoryMs / settings.periodMs))
    }

    /// Whether the limit is below its ceiling, because pushes failed or were late.
    var isLowered: Bool { limit < settings.ceiling }

    /// At its ceiling the limit refuses nothing. Callers then wait (``PushGateway/isFull``), instead of having their
    /// pushes deferred.
    var hasRoom: Bool { !isLowered || inFlight < limit }

    mutating func enter(nowMs: Int64) {
        look(nowMs: nowMs)
        inFlight += 1
        periods[slot(number)].entered += 1
        periods[slot(number)].open += 1
    }

    mutating func leave(_ event: CircuitBreaker.Event, enteredMs: Int64, nowMs: Int64) {
        look(nowMs: nowMs)
        inFlight -= 1
        let entered = enteredMs / settings.periodMs
        let isKnown = (0..<Int64(periods.count)).contains(number - entered)
        // After a long pause, another period is in this place.
        if isKnown { periods[slot(entered)].open = max(0, periods[slot(entered)].open - 1) }
        switch event {
        case .success:
            answered += 1
            answeredMs += max(0, nowMs - enteredMs)
        case .failure, .pause:
            guard isKnown else { return }
            let failed = periods[slot(entered)].failed
            periods[slot(entered)].failed = failed + 1
            // This happens once per period, at the failure that exceeds the bound.
            let bound = periods[slot(entered)].entered / 8
            if failed == bound { halve(downTo: floor) }
        case .credentialFault, .neutral:
            break
        }
    }

    /// Advances to the current period. Call it also when no push starts or ends, because this reveals a hanging
    /// provider.
    mutating func look(nowMs: Int64) {
        let present = nowMs / settings.periodMs
        guard present != number else { return }
        guard (1..<Int64(periods.count)).contains(present - number) else {
            // The first push, or the first after a long pause.
            periods = Array(repeating: Period(), count: periods.count)
            if inFlight == 0 { limit = settings.ceiling }
            return begin(present)
        }
        while number < present {
            conclude()
            begin(number + 1)
            let due = number - lateMs / settings.periodMs - 1
            let past = periods[slot(due)]
            if past.open * 4 > past.entered { halve(downTo: max(floor, settings.ceiling / 2)) }
        }
    }

    private var lateMs: Int64 {
        usualMs == 0
            ? settings.latestLateMs : min(max(Int64(usualMs * 8), settings.earliestLateMs), settings.latestLateMs)
    }

    private func slot(_ number: Int64) -> Int { Int(UInt64(bitPattern: number) % UInt64(periods.count)) }

    /// Ends the current period.
    private mutating func conclude() {
        if answered > 0 {
            let mean = Double(answeredMs) / Double(answered)
            usualMs = usualMs == 0 ? mean : usualMs + (mean - usualMs) / (mean > usualMs ? 64 : 4)
        }
        if !isBad, inFlight == 0 || answered * 2 > periods[slot(number)].entered {
            limit = min(limit + step, settings.ceiling)
        }
    }

    private mutating func begin(_ number: Int64) {
        self.number = number
        periods[slot(number)] = Period()
        answered = 0
        answeredMs = 0
        isBad = false
    }

    private mutating func halve(downTo least: Int) {
        guard !isBad else { return }
        isBad = true
        limit = max(min(limit, least), limit / 2)
    }
}
