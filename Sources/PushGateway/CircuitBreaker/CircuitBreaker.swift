import PushProviders

/// Whether pushes of one credential to one provider host are sent at all. A value without a clock: times are milliseconds given by the
/// caller, of a clock that nobody sets.
///
/// `closed`: sent. `open`: not sent until a time, because of failures in a row, or because the provider said how long to stay away.
/// Then one probe goes; its end closes the breaker, or opens it for twice as long, up to some seconds: a challenge lives for a minute,
/// and a probe costs the provider nothing.
///
/// What is kept back is told to come again one after the other (``ReturnRow``): the end of an outage is no rush.
struct CircuitBreaker: Equatable, Sendable {
    typealias Event = ProviderHealth

    struct Settings: Equatable, Sendable {
        /// Failures in a row that open it.
        var failures = 10
        /// Credential faults in a row that open it.
        var credentialFaults = 5
        /// Failures closer together than this are one: a lost connection fails hundreds of pushes at once.
        var sameFailureMs: Int64 = 50
        var shortestMs: Int64 = 2000
        var longestMs: Int64 = 6000
        /// The same after credential faults, which somebody has to mend.
        var longestFaultMs: Int64 = 60_000
        /// A probe without an end does not keep it open longer than this; its own deadline is shorter.
        var probeMs: Int64 = 5000
        /// When to come again while a probe is on its way.
        var whileProbingMs: Int64 = 1000
    }

    enum State: Equatable, Sendable {
        case closed
        case open(untilMs: Int64)
        /// A probe is on its way; given up after a time, so that a lost one does not keep the breaker open for ever.
        case probing(untilMs: Int64)
    }

    private(set) var state = State.closed
    let settings: Settings
    private var failuresInARow = 0
    private var faultsInARow = 0
    private var lastFailureMs = Int64.min / 2
    /// Times it opened in a row.
    private var openings = 0
    private var row = ReturnRow()

    init(settings: Settings = Settings()) { self.settings = settings }

    enum Admission: Equatable, Sendable {
        case send
        /// As ``send``, and its end decides.
        case probe
        /// Nil: for good, there is no turn for it in its life.
        case stayAway(untilMs: Int64?)
    }

    mutating func admit(_ push: ReturnRow.Push, nowMs: Int64) -> Admission {
        row.count(push, nowMs: nowMs)
        switch state {
        case .closed:
            return .send
        case .open(let untilMs) where nowMs < untilMs:
            return .stayAway(untilMs: row.turn(push, notBeforeMs: untilMs, nowMs: nowMs))
        case .probing(let untilMs) where nowMs < untilMs:
            let nextMs = nowMs + settings.whileProbingMs
            return .stayAway(untilMs: row.turn(push, notBeforeMs: nextMs, nowMs: nowMs))
        case .open, .probing:
            state = .probing(untilMs: nowMs + settings.probeMs)
            return .probe
        }
    }

    /// A turn for one that is kept back for another reason.
    mutating func turn(_ push: ReturnRow.Push, notBeforeMs: Int64, nowMs: Int64) -> Int64? {
        row.turn(push, notBeforeMs: notBeforeMs, nowMs: nowMs)
    }

    /// - Returns: true when the state went from closed to open, or back: worth a line in the log.
    @discardableResult
    mutating func record(_ event: Event, wasProbe: Bool, nowMs: Int64) -> Bool {
        switch event {
        case .success:
            failuresInARow = 0
            faultsInARow = 0
            // Answers to what was sent before it opened say nothing about now.
            guard wasProbe, state != .closed else { return false }
            state = .closed
            openings = 0
            return true
        case .neutral:
            if wasProbe { state = .open(untilMs: nowMs) }
            return false
        case .pause(let ms):
            return open(nowMs: nowMs, atLeastMs: ms, atMostMs: 0)
        case .failure(let retryAfterMs):
            if wasProbe { return open(nowMs: nowMs, atLeastMs: retryAfterMs, atMostMs: settings.longestMs) }
            guard nowMs - lastFailureMs >= settings.sameFailureMs || retryAfterMs > 0 else { return false }
            lastFailureMs = nowMs
            failuresInARow += 1
            guard failuresInARow >= settings.failures, state == .closed else { return false }
            return open(nowMs: nowMs, atLeastMs: retryAfterMs, atMostMs: settings.longestMs)
        case .credentialFault:
            if wasProbe { return open(nowMs: nowMs, atLeastMs: 0, atMostMs: settings.longestFaultMs) }
            faultsInARow += 1
            guard faultsInARow >= settings.credentialFaults, state == .closed else { return false }
            return open(nowMs: nowMs, atLeastMs: 0, atMostMs: settings.longestFaultMs)
        }
    }

    /// - Parameter atMostMs: of our own doubling; 0: it is the provider's word and counts as no opening.
    private mutating func open(nowMs: Int64, atLeastMs: Int64, atMostMs: Int64) -> Bool {
        let wasClosed = state == .closed
        var ms = atLeastMs
        if atMostMs > 0 {
            ms = max(ms, min(settings.shortestMs << Int64(min(openings, 16)), atMostMs))
            openings += 1
        }
        ms = min(ms, Verdict.longestRetryMs)
        failuresInARow = 0
        faultsInARow = 0
        if case .open(let untilMs) = state, untilMs >= nowMs + ms { return false }
        state = .open(untilMs: nowMs + ms)
        return wasClosed
    }
}
