import PushProviders

/// How many pushes of one credential may be outstanding at one provider host. A value without a clock: times are milliseconds
/// given by the caller, of a clock that nobody sets.
///
/// It starts at its ceiling. Pushes are counted by the quarter of a second in which they were sent. More than an eighth of them failed (5xx, a 429
/// of the provider as a whole, no answer, a lost connection), or more than a quarter still unanswered when answers are long due:
/// the limit is halved, once in a quarter of a second. A quarter of a second that went well adds a step.
///
/// By lateness alone it goes no lower than half of the ceiling: a provider that is slow, but answers, needs more outstanding for the same rate,
/// not less.
struct InFlightLimit {
    struct Settings: Equatable, Sendable {
        var ceiling = 1000
        /// Never less, so that there is something to learn from.
        var fewest = 32
        var periodMs: Int64 = 250
        /// An answer is long due after eight times what answers usually take, but within these.
        var earliestLateMs: Int64 = 1500
        var latestLateMs: Int64 = 4000
        /// Failures of what was sent longer ago are not counted.
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
    /// A ring: that of `number` is at `number % count`.
    private var periods: [Period]
    /// The present one, counted from the epoch.
    private var number: Int64 = 0
    private var answered = 0
    private var answeredMs: Int64 = 0
    private var isBad = false
    /// What answers usually take: learnt within a second where it falls, within 16 where it rises.
    private var usualMs = 0.0

    init(settings: Settings = Settings()) {
        self.settings = settings
        floor = min(settings.fewest, settings.ceiling)
        step = max(1, settings.ceiling / 32)
        limit = settings.ceiling
        periods = Array(repeating: Period(), count: Int(settings.memoryMs / settings.periodMs))
    }

    /// Below its ceiling: there was trouble.
    var isLowered: Bool { limit < settings.ceiling }

    /// At its ceiling it refuses nothing: whoever hands over pushes waits then (``PushGateway/isFull``), instead of having them deferred.
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
        // After a standstill another period is in its place.
        if isKnown { periods[slot(entered)].open = max(0, periods[slot(entered)].open - 1) }
        switch event {
        case .success:
            answered += 1
            answeredMs += max(0, nowMs - enteredMs)
        case .failure, .pause:
            guard isKnown else { return }
            let failed = periods[slot(entered)].failed
            periods[slot(entered)].failed = failed + 1
            // Once for each period: the failure that makes them too many.
            let bound = periods[slot(entered)].entered / 8
            if failed == bound { halve(downTo: floor) }
        case .credentialFault, .neutral:
            break
        }
    }

    /// Goes on to the present period. Also to be called when nothing comes and nothing goes: a provider that hangs is seen by that.
    mutating func look(nowMs: Int64) {
        let present = nowMs / settings.periodMs
        guard present != number else { return }
        guard (1..<Int64(periods.count)).contains(present - number) else {
            // The first, or the first after a long quiet or a standstill.
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

    /// The end of the present period.
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
