/// How many requests one endpoint may have under way, and whether it gets any. A pure value; times are milliseconds of
/// a clock that never goes back.
///
/// The limit grows by one with each round of as many answers, and only while it is too small: a burst, as after a
/// take-over of partitions, does not open hundreds of connections to a customer at once.
struct EndpointState: Sendable {
    static let firstLimit = 8
    static let mostLimit = 256
    /// The breaker opens at this share of failures among so many results of the last minute, or so many timeouts in a
    /// row.
    static let openShare = 0.7
    static let openLeast = 10
    static let openTimeouts = 5
    static let windowMs: Int64 = 60_000
    /// From an opening, or a probe that failed, to the next probe.
    static let probeMs: [Int64] = [1000, 2000, 5000, 10_000, 20_000, 30_000]

    enum Breaker: Sendable, Hashable {
        case closed
        /// The next real event at or after this is its probe.
        case open(probeAtMs: Int64)
        /// A probe is under way.
        case probing
    }

    private(set) var limit = firstLimit
    private(set) var inFlight = 0
    private(set) var breaker = Breaker.closed
    /// Answers since the limit last changed, at most as many as the limit.
    private var answers = 0
    /// Whether a place was missing since then.
    private var isShort = false
    private var timeoutsInRow = 0
    private var probesFailed = 0
    private var windowStartMs: Int64 = 0
    private var results = 0
    private var failures = 0

    /// Takes a place, if there is one.
    /// - Returns: false: none is free, or the breaker is open.
    mutating func begin(atMs nowMs: Int64) -> Bool {
        switch breaker {
        case .closed:
            guard inFlight < limit else {
                isShort = true
                return false
            }
        case .open(let probeAtMs):
            guard nowMs >= probeAtMs else { return false }
            breaker = .probing
        case .probing: return false
        }
        inFlight += 1
        return true
    }

    /// Whether a place may be free soon: the breaker is closed.
    var isClosed: Bool { breaker == .closed }

    /// Gives the place back.
    /// - Returns: true when this result has closed the breaker.
    mutating func end(_ result: AttemptResult, atMs nowMs: Int64) -> Bool {
        inFlight -= 1
        guard !result.isOurs else {
            // Nothing was learnt; a probe is asked for again.
            if breaker == .probing { breaker = .open(probeAtMs: nowMs + Self.probeMs[0]) }
            return false
        }
        if result.isTimeout {
            setLimit(max(1, limit / 2))
            timeoutsInRow += 1
        } else {
            timeoutsInRow = 0
            if !result.isEndpointFault { answers = min(answers + 1, limit) }
            if isShort, answers == limit { setLimit(min(Self.mostLimit, limit + 1)) }
        }
        if breaker == .probing {
            guard result.isEndpointFault else {
                close(nowMs)
                return true
            }
            probesFailed += 1
            breaker = .open(probeAtMs: nowMs + Self.probeMs[min(probesFailed, Self.probeMs.count - 1)])
            return false
        }
        guard breaker == .closed else { return false }
        if nowMs - windowStartMs >= Self.windowMs { (windowStartMs, results, failures) = (nowMs, 0, 0) }
        results += 1
        if result.isEndpointFault { failures += 1 }
        let isTooMuch = results >= Self.openLeast && Double(failures) >= Self.openShare * Double(results)
        if isTooMuch || timeoutsInRow >= Self.openTimeouts {
            breaker = .open(probeAtMs: nowMs + Self.probeMs[0])
            probesFailed = 0
        }
        return false
    }

    private mutating func close(_ nowMs: Int64) {
        breaker = .closed
        (timeoutsInRow, probesFailed) = (0, 0)
        (windowStartMs, results, failures) = (nowMs, 0, 0)
        setLimit(max(limit, 4))
    }

    private mutating func setLimit(_ value: Int) { (limit, answers, isShort) = (value, 0, false) }
}
