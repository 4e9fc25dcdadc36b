package import Challenges
import Logging
import Synchronization

/// The store of many nodes: PostgreSQL, one transaction per caller on a pool of connections. Reads see every write
/// whose caller has returned. Nothing blocks a cooperative thread: bodies run on the connections' own threads.
package final class PostgresEngine: StorageEngine {
    let pool: PostgresPool
    private let settings: PostgresSettings
    private let observer: PostgresObservations
    private let calls: PostgresCalls
    private let lanes: PostgresOutbox
    private let isClosed = Atomic(false)

    /// Opens no connection yet: that is under way when it returns.
    /// - Throws: ``StoreError/failed(_:)`` when the process has no descriptors left.
    init(_ settings: PostgresSettings, logger: Logger) throws(StoreError) {
        self.settings = settings
        let signal = OutboxSignal(last: 0)
        let observer = PostgresObservations(signal)
        let pool = try PostgresPool(settings, logger: logger)
        self.observer = observer
        self.pool = pool
        calls = PostgresCalls(pool: pool, observer: observer, deadline: settings.requestDeadline)
        lanes = PostgresOutbox(calls, signal: signal)
    }

    package var outbox: any OutboxStore { lanes }
    package var clockAheadMs: Int64 { lanes.clockAheadMs }
    package var commits: Int { observer.commits }
    package var fault: StoreFault? { pool.fault ?? observer.fault }
    package var connections: StoreConnections? {
        let (open, busy, waiting) = pool.gauges
        return observer.counted(into: StoreConnections(open: open, busy: busy, waiting: waiting))
    }

    package func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value {
        try await run(.write) { try body(PostgresTransaction(connection: $0)) }
    }

    package func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value {
        try await run(.read) { try body(PostgresTransaction(connection: $0)) }
    }

    /// Runs `body` in a transaction on a connection of the pool, and again from its start where that is needed.
    func run<Value: Sendable>(
        _ mode: PostgresConnection.Mode, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
    ) async throws -> Value {
        guard !isClosed.load(ordering: .acquiring) else { throw StoreError.closed }
        return try await calls.run(mode, StoreWork.current, body)
    }

    package func probe() async {
        guard pool.fault == nil else { return }
        do {
            // Each write that meets a standby that is away leaves a session behind, which nothing but the standby ends.
            if observer.fault == .standbyAway {
                let waiting = try await calls.run(.read, .relay) { connection in
                    try connection.integer(
                        "SELECT count(*) FROM pg_stat_activity WHERE usename = session_user AND wait_event = 'SyncRep'",
                        [])
                }
                guard waiting == 0 else { return }
            }
            // As much as a creation writes, and more.
            try await calls.run(.write, .relay, isProbe: true) { connection in
                let filler = PostgresValue.blob([UInt8](repeating: 0, count: 65_536))
                try connection.run("INSERT INTO write_probes (filler) VALUES (?)", [filler])
                try connection.run("DELETE FROM write_probes")
            }
            observer.isWell()
        } catch {}
    }

    package func close() async {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        await lanes.close()
        await pool.close()
    }
}

/// How transactions come to the pool.
struct PostgresCalls: Sendable {
    let pool: PostgresPool
    let observer: PostgresObservations
    let deadline: Duration

    /// - Parameter isProbe: tries whether a fault is over.
    func run<Value: Sendable>(
        _ mode: PostgresConnection.Mode, _ work: StoreWork, isProbe: Bool = false,
        _ body: @escaping @Sendable (PostgresConnection) throws -> Value
    ) async throws -> Value {
        do {
            // It would wait for its whole deadline, and leave a session behind.
            if mode == .write, !isProbe, observer.fault == .standbyAway {
                throw StoreError.unavailable(.standbyAway)
            }
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                pool.submit(
                    PostgresTransactionJob(
                        mode, deadline: deadline, observer: observer, continuation: continuation, body: body), work)
            }
        } catch {
            observer.refused(error)
            throw error
        }
    }
}

extension StoreFault {
    /// Commits wait for a synchronous standby.
    static let standbyAway = StoreFault(
        .failing,
        detail: "no synchronous standby confirms commits: start one, or take it out of synchronous_standby_names")
}

/// What the engine knows of its transactions.
final class PostgresObservations: PostgresObserver {
    private let signal: OutboxSignal
    private let fallen = Mutex<StoreFault?>(nil)
    private let commitCount = Atomic(0)
    private let signals = Atomic(Int64(0))
    private let repetitions = Atomic(0)
    private let busy = Atomic(0)
    private let committedLate = Atomic(0)
    private let abortedLate = Atomic(0)
    private let unknown = Atomic(0)

    init(_ signal: OutboxSignal) { self.signal = signal }

    var commits: Int { commitCount.load(ordering: .relaxed) }
    var fault: StoreFault? { fallen.withLock { $0 } }

    func isWell() { fallen.withLock { $0 = nil } }

    func committed(addsOutboxRows: Bool) {
        commitCount.add(1, ordering: .relaxed)
        if addsOutboxRows { ring() }
    }

    /// There may be rows of the outbox.
    func ring() {
        signal.willCommit(last: signals.add(1, ordering: .relaxed).newValue)
        signal.committed()
    }

    func cannotWrite(_ fault: StoreFault) { fallen.withLock { $0 = fault } }
    func repeated() { repetitions.add(1, ordering: .relaxed) }
    func settled(_ fate: CommitFate?) {
        switch fate {
        case .committed: committedLate.add(1, ordering: .relaxed)
        case .aborted: abortedLate.add(1, ordering: .relaxed)
        default: unknown.add(1, ordering: .relaxed)
        }
    }

    func refused(_ error: any Error) {
        switch error as? StoreError {
        case .busy, .unavailable: busy.add(1, ordering: .relaxed)
        default: break
        }
    }

    func counted(into connections: StoreConnections) -> StoreConnections {
        var connections = connections
        connections.refused = busy.load(ordering: .relaxed)
        connections.repeated = repetitions.load(ordering: .relaxed)
        connections.settledCommits = committedLate.load(ordering: .relaxed)
        connections.settledAborts = abortedLate.load(ordering: .relaxed)
        connections.unknownCommits = unknown.load(ordering: .relaxed)
        return connections
    }
}
