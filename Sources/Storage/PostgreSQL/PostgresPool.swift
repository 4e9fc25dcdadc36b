import Challenges
import Dispatch
import Foundation
import Logging
import Synchronization
import Wire

/// What a caller wants done on a connection.
protocol PostgresJob: AnyObject, Sendable {
    /// Runs on the connection's thread, which it may block.
    func run(on connection: PostgresConnection) -> PostgresJobEnd
    /// Tells the caller that nothing, or nothing more, is done. Called at most once, and not when ``run(on:)`` ended
    /// it.
    func refuse(_ error: StoreError)
}

enum PostgresJobEnd: Sendable {
    /// The caller was told.
    case done
    /// Once more, on another connection. Until then at the latest.
    case elsewhere(until: ContinuousClock.Instant)
    /// The same; a connection that was opened before can tell for sure what became of the COMMIT.
    case settle(until: ContinuousClock.Instant, openedBefore: ContinuousClock.Instant)
}

/// A bounded number of connections, kept open, each with a thread of its own. See ``PoolState`` for the rules.
final class PostgresPool: Sendable {
    private typealias State = PoolState<any PostgresJob>

    let settings: PostgresSettings
    private let state: Mutex<State>
    private let bells: [Bell]
    private let logger: Logger
    private let closers = Mutex<[CheckedContinuation<Void, Never>]>([])
    /// The host that took the last connection.
    private let preferred = Atomic(0)
    private let isTimed = Atomic(false)

    init(_ settings: PostgresSettings, logger: Logger) throws(StoreError) {
        self.settings = settings
        self.logger = logger
        var options = State.Options()
        options.size = settings.connections
        options.waiters = settings.connections * settings.waitersPerConnection
        options.acquireDeadline = settings.acquireDeadline
        state = Mutex(State(options, now: .now))
        var bells: [Bell] = []
        for _ in 0..<settings.connections { bells.append(try Bell()) }
        self.bells = bells
        for slot in bells.indices {
            let thread = Thread { [self] in work(slot) }
            thread.name = "beckon-pg-\(slot)"
            thread.stackSize = 1 << 20
            thread.start()
        }
    }

    /// Why no connection can be had; nil: some can.
    var fault: StoreFault? { state.withLock { $0.open == 0 ? $0.fault : nil } }

    var gauges: (open: Int, busy: Int, waiting: Int) { state.withLock { ($0.open, $0.busy, $0.waiters) } }

    func submit(_ job: any PostgresJob, _ work: StoreWork) {
        switch state.withLock({ $0.admit(job, work, now: .now) }) {
        case .refused(let error): job.refuse(error)
        case .taken(let slot?): bells[slot].ring()
        case .taken(nil): watchDeadlines()
        }
    }

    /// Refuses what comes from now on, and returns when what was admitted is done and every connection closed.
    /// Idempotent.
    func close() async {
        let left = state.withLock { $0.close() }
        for job in left { job.refuse(.closed) }
        for bell in bells { bell.ring() }
        await withCheckedContinuation { continuation in
            closers.withLock { $0.append(continuation) }
            tellClosers()
        }
    }

    private func tellClosers() {
        guard state.withLock({ $0.hasEnded }) else { return }
        let closers = closers.withLock { closers in
            defer { closers = [] }
            return closers
        }
        for closer in closers { closer.resume() }
    }

    // MARK: - Deadlines of those that wait

    private func watchDeadlines() {
        guard !isTimed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(50)) { [self] in
            isTimed.store(false, ordering: .releasing)
            let (overdue, hasMore) = state.withLock { ($0.takeOverdue(now: .now), $0.nextDeadline != nil) }
            let refusal = fault.map { StoreError.unavailable($0) } ?? .busy
            for job in overdue { job.refuse(refusal) }
            if hasMore { watchDeadlines() }
        }
    }

    // MARK: - A slot's thread

    private func work(_ slot: Int) {
        defer {
            state.withLock { $0.ended(slot) }
            // Nobody is left to serve them.
            for job in state.withLock({ $0.takeLeft() }) { job.refuse(.closed) }
            tellClosers()
        }
        while !isClosed {
            guard let connection = open(slot) else { continue }
            guard serve(slot, connection) else { return }
        }
    }

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Waits for its turn and opens a connection.
    private func open(_ slot: Int) -> PostgresConnection? {
        while let later = state.withLock({ $0.isClosed ? nil : $0.mayOpen(slot, now: .now) }) {
            bells[slot].wait(until: later)
        }
        guard !isClosed else { return nil }
        do {
            let link = try PostgresLink.open(
                settings, preferred: preferred.load(ordering: .relaxed), isStopped: { isClosed })
            let connection = try PostgresConnection(link, statementDeadline: settings.statementDeadline)
            preferred.store(link.target, ordering: .relaxed)
            let openedAt = connection.openedAt
            let (former, next) = state.withLock { state in
                let former = state.fault
                return (former, state.opened(slot, now: openedAt))
            }
            if let next { bells[next].ring() }
            if former != nil { logger.info("the database is back", metadata: ["host": "\(link.target)"]) }
            return connection
        } catch {
            let fault = (error as? PostgresError)?.fault ?? StoreFault(.unreachable, detail: "\(error)")
            logger.debug("no connection to the database", metadata: ["error": "\(fault.detail)"])
            let pause = Duration.milliseconds(Int.random(in: 250...500))
            let refused = state.withLock { $0.failedToOpen(slot, fault, pause: pause, now: .now) }
            for job in refused { job.refuse(.unavailable(fault)) }
            return nil
        }
    }

    /// Serves callers until the connection is gone.
    /// - Returns: false when the pool is closed.
    private func serve(_ slot: Int, _ connection: PostgresConnection) -> Bool {
        let age = settings.connectionAge * Double.random(in: 0.8...1.2)
        let ageEndsAt = connection.openedAt + age
        while true {
            switch state.withLock({ $0.next(slot, ageEndsAt: ageEndsAt, now: .now) }) {
            case .end:
                connection.link.close()
                return false
            case .retire:
                connection.link.close()
                for slot in state.withLock({ $0.retired(slot) }) { bells[slot].ring() }
                return true
            case .wait:
                bells[slot].wait(until: ageEndsAt, or: connection.link.socket)
                if connection.link.isAlive() { continue }
            case .job(let job):
                let end = job.run(on: connection)
                again(job, end)
                if connection.isOpen { continue }
            }
            let loss = connection.link.loss ?? PostgresError(.connection, "the connection was closed")
            logger.debug("a connection to the database is lost", metadata: ["error": "\(loss)"])
            let (refused, wake) = state.withLock {
                $0.lost(slot, loss.fault, serverIsStale: loss.state == "25006", now: .now)
            }
            for job in refused { job.refuse(.unavailable(loss.fault)) }
            for slot in wake { bells[slot].ring() }
            return true
        }
    }

    private func again(_ job: any PostgresJob, _ end: PostgresJobEnd) {
        let slot: Int?
        switch end {
        case .done: return
        case .elsewhere(let until): slot = state.withLock { $0.readmit(job, until: until) }
        case .settle(let until, let before):
            slot = state.withLock { $0.readmit(job, until: until, openedBefore: before) }
        }
        if let slot { bells[slot].ring() }
        watchDeadlines()
    }
}

/// Wakes a thread that waits for it, or for a socket.
final class Bell: Sendable {
    private let reading: Int32
    private let writing: Int32

    init() throws(StoreError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw .failed("a pipe cannot be made: \(String(cString: strerror(errno)))")
        }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        (reading, writing) = (ends[0], ends[1])
    }

    deinit {
        close(reading)
        close(writing)
    }

    /// One that is rung already stays so.
    func ring() {
        var byte: UInt8 = 1
        _ = write(writing, &byte, 1)
    }

    /// Returns when it is rung, when `socket` can be read, and at the deadline.
    func wait(until deadline: ContinuousClock.Instant, or socket: Int32 = -1) {
        var descriptors = [
            pollfd(fd: reading, events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
        ]
        // A signal ends it early, and whoever waits looks again.
        _ = poll(&descriptors, 2, deadline.pollMilliseconds)
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = read(reading, &bytes, bytes.count)
    }
}

extension ContinuousClock.Instant {
    /// Until then, for `poll`, rounded up: no loop of zeros before it.
    var pollMilliseconds: Int32 {
        let left = self - .now
        guard left > .zero else { return 0 }
        return Int32(clamping: left.wholeMilliseconds + 1)
    }
}
