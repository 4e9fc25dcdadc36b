import Challenges

/// Who waits for a connection, which connections there are, and when one may be opened: the pool without threads and sockets.
///
/// While no connection is usable and the last one failed, callers are refused at once, and one attempt at a time is made. A
/// connection that was lost beside others is replaced at the pace of the bucket.
struct PoolState<Job> {
    enum Slot: Equatable {
        /// Without a connection.
        case down
        case connecting
        case idle
        case busy
        /// Its thread has ended.
        case ended
    }

    enum Next {
        case job(Job)
        case wait
        /// The connection is to be closed, and a new one opened.
        case retire
        case end
    }

    enum Admission {
        /// The slot to wake; nil: it waits.
        case taken(wake: Int?)
        case refused(StoreError)
    }

    struct Waiting {
        let job: Job
        let until: ContinuousClock.Instant
        /// A connection opened before is preferred.
        var openedBefore: ContinuousClock.Instant?
    }

    struct Options {
        var size = 16
        /// Callers that wait at most; 4 for each connection.
        var waiters = 64
        var acquireDeadline: Duration = .seconds(1)
        /// Between two attempts while no connection is usable, and for each connection opened after an outage.
        var pace: Duration = .milliseconds(250)
    }

    let options: Options
    private(set) var slots: [Slot]
    private var openedAt: [ContinuousClock.Instant?]
    private var idle: [Int] = []
    private var waiting: [Waiting] = []
    /// Transactions that have lost their connection: they were admitted. One for each slot at most.
    private var urgent: [Waiting] = []
    private(set) var fault: StoreFault?
    private var opensAt: ContinuousClock.Instant
    /// Connections that may be opened without a pause.
    private var tokens: Int
    /// Connections of before are not used.
    private var staleBefore: ContinuousClock.Instant?
    private(set) var isClosed = false

    init(_ options: Options, now: ContinuousClock.Instant) {
        self.options = options
        slots = Array(repeating: .down, count: options.size)
        openedAt = Array(repeating: nil, count: options.size)
        tokens = options.size
        opensAt = now
    }

    /// Connections that are open.
    var open: Int { slots.count { $0 == .idle || $0 == .busy } }
    var busy: Int { slots.count { $0 == .busy } }
    var waiters: Int { waiting.count + urgent.count }
    var hasEnded: Bool { slots.allSatisfy { $0 == .ended } }

    // MARK: - Callers

    mutating func admit(_ job: Job, now: ContinuousClock.Instant) -> Admission {
        guard !isClosed else { return .refused(.closed) }
        if let fault, open == 0 { return .refused(.unavailable(fault)) }
        let slot = idle.popLast()
        guard slot != nil || waiting.count < options.waiters else { return .refused(.busy) }
        waiting.append(Waiting(job: job, until: now + options.acquireDeadline))
        return .taken(wake: slot)
    }

    /// A job whose connection is gone goes before those that wait, also while no connection is usable.
    /// - Parameter openedBefore: it asks what became of a transaction, which only a connection of before can tell for sure.
    /// - Returns: the slot to wake; nil: none is idle.
    mutating func readmit(
        _ job: Job, until: ContinuousClock.Instant, openedBefore: ContinuousClock.Instant? = nil
    ) -> Int? {
        urgent.append(Waiting(job: job, until: until, openedBefore: openedBefore))
        guard let openedBefore,
            let position = idle.lastIndex(where: { openedAt[$0].map { $0 < openedBefore } ?? false })
        else { return idle.popLast() }
        return idle.remove(at: position)
    }

    /// Those that have waited for too long.
    mutating func takeOverdue(now: ContinuousClock.Instant) -> [Job] {
        let overdue = urgent.filter { $0.until <= now } + waiting.filter { $0.until <= now }
        urgent.removeAll { $0.until <= now }
        waiting.removeAll { $0.until <= now }
        return overdue.map(\.job)
    }

    /// When the next one will have; nil: nobody waits.
    var nextDeadline: ContinuousClock.Instant? { (urgent + waiting).map(\.until).min() }

    // MARK: - Slots

    /// What a slot with a connection does now.
    mutating func next(_ slot: Int, ageEndsAt: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Next {
        idle.removeAll { $0 == slot }
        slots[slot] = .busy
        let mine = openedAt[slot] ?? now
        if let staleBefore, mine <= staleBefore { return .retire }
        if let job = takeUrgent(openedAt: mine) { return .job(job) }
        // Not the last one while somebody waits.
        let isOld = ageEndsAt <= now && !isClosed
        if !waiting.isEmpty, !isOld || open == 1 { return .job(waiting.removeFirst().job) }
        if isClosed { return .end }
        if isOld { return .retire }
        slots[slot] = .idle
        idle.append(slot)
        return .wait
    }

    private mutating func takeUrgent(openedAt mine: ContinuousClock.Instant) -> Job? {
        let position = urgent.firstIndex { waiting in
            guard let before = waiting.openedBefore, mine >= before else { return true }
            // Nobody else can tell better.
            return !zip(slots, openedAt).contains { slot, opened in
                (slot == .idle || slot == .busy) && opened.map { $0 < before } ?? false
            }
        }
        return position.map { urgent.remove(at: $0).job }
    }

    /// Whether a slot without a connection may open one.
    /// - Returns: nil: now; otherwise when to ask again.
    mutating func mayOpen(_ slot: Int, now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        if fault != nil, open == 0, slots.contains(.connecting) { return now + options.pace }
        if tokens > 0 {
            tokens -= 1
        } else {
            guard opensAt <= now else { return opensAt }
            opensAt = now + options.pace
        }
        slots[slot] = .connecting
        return nil
    }

    mutating func opened(_ slot: Int, now: ContinuousClock.Instant) {
        slots[slot] = .busy
        openedAt[slot] = now
        fault = nil
    }

    /// - Parameter pause: jittered.
    /// - Returns: callers to refuse.
    mutating func failedToOpen(
        _ slot: Int, _ fault: StoreFault, pause: Duration, now: ContinuousClock.Instant
    ) -> [Job] {
        slots[slot] = .down
        tokens = 0
        opensAt = max(opensAt, now + pause)
        return isDown(fault)
    }

    /// The connection of a slot is closed as its age demands, and a new one is opened.
    /// - Returns: slots to wake.
    mutating func retired(_ slot: Int) -> [Int] {
        slots[slot] = .down
        openedAt[slot] = nil
        tokens = min(tokens + 1, options.size)
        return takeIdle()
    }

    /// For those that wait and whose slot went away before it took them.
    private mutating func takeIdle() -> [Int] {
        let count = min(idle.count, waiters)
        defer { idle.removeLast(count) }
        return idle.suffix(count)
    }

    /// - Parameter serverIsStale: the server takes no writes: what was opened before this connection reaches it too.
    /// - Returns: callers to refuse, and slots to wake.
    mutating func lost(
        _ slot: Int, _ fault: StoreFault, serverIsStale: Bool, now: ContinuousClock.Instant
    ) -> (refused: [Job], wake: [Int]) {
        if serverIsStale, let mine = openedAt[slot] { staleBefore = max(staleBefore ?? mine, mine) }
        idle.removeAll { $0 == slot }
        slots[slot] = .down
        openedAt[slot] = nil
        if open == 0 {
            tokens = 0
            opensAt = now
        }
        let refused = isDown(fault)
        // Those that are stale look at themselves.
        return (refused, serverIsStale ? idle : takeIdle())
    }

    private mutating func isDown(_ fault: StoreFault) -> [Job] {
        guard open == 0 else { return [] }
        self.fault = fault
        defer { waiting = [] }
        return waiting.map(\.job)
    }

    mutating func ended(_ slot: Int) {
        idle.removeAll { $0 == slot }
        slots[slot] = .ended
        openedAt[slot] = nil
    }

    /// - Returns: callers to refuse, when there is no connection to serve them.
    mutating func close() -> [Job] {
        isClosed = true
        return takeLeft()
    }

    /// Nobody serves them any more.
    mutating func takeLeft() -> [Job] {
        guard isClosed, open == 0 else { return [] }
        defer { (waiting, urgent) = ([], []) }
        return (urgent + waiting).map(\.job)
    }
}
