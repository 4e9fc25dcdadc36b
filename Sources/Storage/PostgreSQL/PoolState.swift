import Challenges
import DequeModule

/// Who waits for a connection, which connections there are, and when one may be opened: the pool without threads and
/// sockets.
///
/// Callers of one kind (``StoreWork``) are served in the order in which they came. The kinds take turns, and each
/// leaves some of the connections to the others, so that a kind that is slow or comes in masses does not keep the
/// others waiting.
///
/// While no connection is usable and the last one failed, callers are refused at once, and one attempt at a time is
/// made. A connection that was lost beside others is replaced at the pace of the bucket. Each one that was opened lets
/// the next follow at once: the server's own speed is the pace, and no producer opens all of them together.
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
        let work: StoreWork
        let until: ContinuousClock.Instant
        /// A connection opened before is preferred.
        var openedBefore: ContinuousClock.Instant?
    }

    struct Options {
        var size = 16
        /// Callers of a kind that wait at most; 4 for each connection.
        var waiters = 64
        /// The same for ``StoreWork/background``: as many as there are records under way in the entrances, which are
        /// read again when they are refused.
        var backgroundWaiters = 1024
        var acquireDeadline: Duration = .seconds(3)
        /// Between two attempts while no connection is usable, and for each connection opened after an outage.
        var pace: Duration = .milliseconds(250)
    }

    let options: Options
    private(set) var slots: [Slot]
    private var openedAt: [ContinuousClock.Instant?]
    private var idle: [Int] = []
    /// By kind; each in the order of its coming, and therefore of its deadlines.
    private var waiting = Array(repeating: Deque<Waiting>(), count: StoreWork.allCases.count)
    /// What each slot does; nil: nothing, or a transaction that has lost its connection.
    private var works: [StoreWork?]
    /// The kind that was served last.
    private var turn = StoreWork.background
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
        works = Array(repeating: nil, count: options.size)
        tokens = options.size
        opensAt = now
    }

    /// Connections that are open.
    var open: Int { slots.count { $0 == .idle || $0 == .busy } }
    var busy: Int { slots.count { $0 == .busy } }
    var waiters: Int { waiting.reduce(urgent.count) { $0 + $1.count } }
    var hasEnded: Bool { slots.allSatisfy { $0 == .ended } }

    // MARK: - Callers

    mutating func admit(_ job: Job, _ work: StoreWork = .request, now: ContinuousClock.Instant) -> Admission {
        guard !isClosed else { return .refused(.closed) }
        if let fault, open == 0 { return .refused(.unavailable(fault)) }
        let slot = mayTake(work) ? idle.popLast() : nil
        let bound = work == .background ? options.backgroundWaiters : options.waiters
        guard slot != nil || waiting[work.rawValue].count < bound else { return .refused(.busy) }
        waiting[work.rawValue].append(Waiting(job: job, work: work, until: now + options.acquireDeadline))
        return .taken(wake: slot)
    }

    /// Whether the kind may have another of the connections that are open. What begins something new leaves an eighth
    /// of them to what was begun, and at least one; what nobody waits for leaves a quarter to all others, and at least
    /// two.
    private func mayTake(_ work: StoreWork) -> Bool {
        let background = works.count { $0 == .background }
        let begun = background + works.count { $0 == .creation }
        let (open, isNew) = (open, work == .creation || work == .background)
        if isNew, begun >= max(1, open - max(1, open / 8)) { return false }
        return work != .background || background < max(1, open - max(2, open / 4))
    }

    /// A job whose connection is gone goes before those that wait, also while no connection is usable.
    /// - Parameter openedBefore: it asks what became of a transaction, which only a connection of before can tell for
    ///   sure.
    /// - Returns: the slot to wake; nil: none is idle.
    mutating func readmit(
        _ job: Job, until: ContinuousClock.Instant, openedBefore: ContinuousClock.Instant? = nil
    ) -> Int? {
        urgent.append(Waiting(job: job, work: .request, until: until, openedBefore: openedBefore))
        guard let openedBefore,
            let position = idle.lastIndex(where: { openedAt[$0].map { $0 < openedBefore } ?? false })
        else { return idle.popLast() }
        return idle.remove(at: position)
    }

    /// Those that have waited for too long.
    mutating func takeOverdue(now: ContinuousClock.Instant) -> [Job] {
        var overdue = urgent.filter { $0.until <= now }.map(\.job)
        urgent.removeAll { $0.until <= now }
        for kind in waiting.indices {
            while let first = waiting[kind].first, first.until <= now {
                overdue.append(first.job)
                waiting[kind].removeFirst()
            }
        }
        return overdue
    }

    /// When the next one will have; nil: nobody waits.
    var nextDeadline: ContinuousClock.Instant? { (urgent + waiting.compactMap(\.first)).map(\.until).min() }

    // MARK: - Slots

    /// What a slot with a connection does now.
    mutating func next(_ slot: Int, ageEndsAt: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Next {
        idle.removeAll { $0 == slot }
        slots[slot] = .busy
        works[slot] = nil
        let mine = openedAt[slot] ?? now
        if let staleBefore, mine <= staleBefore { return .retire }
        if let job = takeUrgent(openedAt: mine) { return .job(job) }
        // Not the last one while somebody waits.
        let isOld = ageEndsAt <= now && !isClosed
        if !isOld || open == 1, let next = takeNext() {
            works[slot] = next.work
            return .job(next.job)
        }
        if isClosed { return .end }
        if isOld { return .retire }
        slots[slot] = .idle
        idle.append(slot)
        return .wait
    }

    /// The first of the next kind that waits and may have a connection.
    private mutating func takeNext() -> Waiting? {
        for offset in 1...waiting.count {
            let kind = (turn.rawValue + offset) % waiting.count
            guard let first = waiting[kind].first, mayTake(first.work) else { continue }
            turn = first.work
            return waiting[kind].removeFirst()
        }
        return nil
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

    /// - Returns: a slot to wake, which may open the next.
    mutating func opened(_ slot: Int, now: ContinuousClock.Instant) -> Int? {
        slots[slot] = .busy
        openedAt[slot] = now
        fault = nil
        guard let next = slots.firstIndex(of: .down) else { return nil }
        tokens = min(tokens + 1, options.size)
        return next
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
        (openedAt[slot], works[slot]) = (nil, nil)
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
        (openedAt[slot], works[slot]) = (nil, nil)
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
        return takeWaiting()
    }

    private mutating func takeWaiting() -> [Job] {
        let jobs = waiting.flatMap { $0.map(\.job) }
        for kind in waiting.indices { waiting[kind].removeAll() }
        return jobs
    }

    mutating func ended(_ slot: Int) {
        idle.removeAll { $0 == slot }
        slots[slot] = .ended
        (openedAt[slot], works[slot]) = (nil, nil)
    }

    /// - Returns: callers to refuse, when there is no connection to serve them.
    mutating func close() -> [Job] {
        isClosed = true
        return takeLeft()
    }

    /// Nobody serves them any more.
    mutating func takeLeft() -> [Job] {
        guard isClosed, open == 0 else { return [] }
        defer { urgent = [] }
        return urgent.map(\.job) + takeWaiting()
    }
}
