/// Whether pushes of one credential to one provider host are sent at all. A value without a clock: times are epoch
/// milliseconds given by the caller.
///
/// `closed`: sent. `open`: not sent until a time, because of failures in a row, or because the provider said how long to stay away.
/// Then one probe goes; its end closes the breaker, or opens it for twice as long.
struct CircuitBreaker: Equatable, Sendable {
    enum Event: Equatable, Sendable {
        /// The provider answered and is well, whatever it said about this push.
        case success
        /// 5xx, no answer, or the connection was lost. - retryAfterMs: what the provider asked for, else 0.
        case failure(retryAfterMs: Int64)
        /// The credential was refused.
        case credentialFault
        /// The provider asks to stay away this long.
        case pause(ms: Int64)
        /// Nothing was learnt (it expired before it was sent).
        case neutral
    }

    struct Settings: Equatable, Sendable {
        /// Failures in a row that open it.
        var failures = 10
        /// Credential faults in a row that open it.
        var credentialFaults = 5
        /// Failures closer together than this are one: a lost connection fails hundreds of pushes at once.
        var sameFailureMs: Int64 = 50
        var shortestMs: Int64 = 2000
        var longestMs: Int64 = 60_000
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

    init(settings: Settings = Settings()) { self.settings = settings }

    enum Admission: Equatable, Sendable {
        case send
        /// As ``send``, and its end decides.
        case probe
        case stayAway(untilMs: Int64)
    }

    mutating func admit(nowMs: Int64) -> Admission {
        switch state {
        case .closed: return .send
        case .open(let untilMs), .probing(let untilMs):
            guard nowMs >= untilMs else { return .stayAway(untilMs: untilMs) }
            state = .probing(untilMs: nowMs + settings.longestMs)
            return .probe
        }
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
            return open(nowMs: nowMs, atLeastMs: ms, countsAsOpening: false)
        case .failure(let retryAfterMs):
            if wasProbe { return open(nowMs: nowMs, atLeastMs: retryAfterMs) }
            guard nowMs - lastFailureMs >= settings.sameFailureMs || retryAfterMs > 0 else { return false }
            lastFailureMs = nowMs
            failuresInARow += 1
            guard failuresInARow >= settings.failures, state == .closed else { return false }
            return open(nowMs: nowMs, atLeastMs: retryAfterMs)
        case .credentialFault:
            if wasProbe { return open(nowMs: nowMs, atLeastMs: 0) }
            faultsInARow += 1
            guard faultsInARow >= settings.credentialFaults, state == .closed else { return false }
            return open(nowMs: nowMs, atLeastMs: 0)
        }
    }

    private mutating func open(nowMs: Int64, atLeastMs: Int64, countsAsOpening: Bool = true) -> Bool {
        let wasClosed = state == .closed
        var ms = atLeastMs
        if countsAsOpening {
            ms = max(ms, min(settings.shortestMs << Int64(min(openings, 16)), settings.longestMs))
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
