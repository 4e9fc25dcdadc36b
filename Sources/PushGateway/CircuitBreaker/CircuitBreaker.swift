import PushProviders
import Wire

/// Decides whether pushes of one credential to one provider host are sent. A value without a clock: the caller gives
/// times in milliseconds of a steady clock.
/// `closed`: pushes are sent. `open`: no pushes are sent until a time, because of consecutive failures, or because the
/// provider asked for a pause. Then one probe is sent. Its result closes the breaker, or opens it for twice as long, up
/// to some seconds: a challenge lives for a minute, and a probe costs the provider nothing.
/// Pushes that are kept back get slots one after the other (``ReturnRow``), so that the end of an outage causes no
/// spike.
struct CircuitBreaker: Equatable, Sendable {
    typealias Event = ProviderHealth

    struct Settings: Equatable, Sendable {
        /// Number of consecutive failures that open the breaker.
        var failures = 10
        /// Number of consecutive credential faults that open the breaker.
        var credentialFaults = 5
        /// Failures within this time count as one, because a lost connection fails hundreds of pushes at once.
        var sameFailureMs: Int64 = 50
        var shortestMs: Int64 = 2000
        var longestMs: Int64 = 6000
        /// The same after credential faults, which somebody must correct.
        var longestFaultMs: Int64 = 60_000
        /// Longest time for which a probe without a result keeps the breaker open. The probe's own deadline is shorter.
        var probeMs: Int64 = 5000
        /// Wait of other pushes while a probe is in progress.
        var whileProbingMs: Int64 = 1000
    }

    enum State: Equatable, Sendable {
        case closed
        case open(untilMs: Int64)
        /// A probe is in progress. It is given up after a time, so that a lost probe does not keep the breaker open for
        /// ever.
        case probing(untilMs: Int64)
    }

    private(set) var state = State.closed
    let settings: Settings
    private var failuresInARow = 0
    private var faultsInARow = 0
    private var lastFailureMs = Int64.min / 2
    /// Number of consecutive openings.
    private var openings = 0
    private var row = ReturnRow()

    init(settings: Settings = Settings()) { self.settings = settings }

    enum Admission: Equatable, Sendable {
        case send
        /// Like ``send``, and the result of this push decides about the breaker.
        case probe
        /// Do not send before this time. Nil: the push gets no slot within its life.
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

    /// A slot for a push that is kept back for another reason.
    mutating func turn(_ push: ReturnRow.Push, notBeforeMs: Int64, nowMs: Int64) -> Int64? {
        row.turn(push, notBeforeMs: notBeforeMs, nowMs: nowMs)
    }

    /// - Returns: true when the state changed from closed to open, or back, which is logged.
    @discardableResult
    mutating func record(_ event: Event, wasProbe: Bool, nowMs: Int64) -> Bool {
        switch event {
        case .success:
            failuresInARow = 0
            faultsInARow = 0
            // Answers to pushes that were sent before the opening say nothing about the current state.
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

    /// - Parameter atMostMs: limit of the doubled time; 0: the provider set the time, and this does not count as an
    ///   opening.
    private mutating func open(nowMs: Int64, atLeastMs: Int64, atMostMs: Int64) -> Bool {
        let wasClosed = state == .closed
        var ms = atLeastMs
        if atMostMs > 0 {
            openings += 1
            let backoff = Backoff(
                first: .milliseconds(settings.shortestMs), most: .milliseconds(atMostMs), failures: openings)
            ms = max(ms, backoff.whole.wholeMilliseconds)
        }
        ms = min(ms, Verdict.longestRetryMs)
        failuresInARow = 0
        faultsInARow = 0
        if case .open(let untilMs) = state, untilMs >= nowMs + ms { return false }
        state = .open(untilMs: nowMs + ms)
        return wasClosed
    }
}
