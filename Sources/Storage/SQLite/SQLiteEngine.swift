package import Challenges
import Dispatch
import Foundation
import GRDB
import Logging
import Synchronization

/// The store of one node: SQLite with a write-ahead log, `synchronous=FULL`, and group commit. Reads see every write
/// whose caller has returned. Nothing blocks a cooperative thread: writes run on the writer's queue, reads on up to
/// four others.
package final class SQLiteEngine: StorageEngine {
    private let file: StoreFile
    private let pool: DatabasePool
    private let group: GroupCommit
    private let checkpoints: LogCheckpoints
    private let signal: OutboxSignal
    private let logger: Logger
    private let isClosed = Atomic(false)

    /// Opens the file, makes it when missing, and brings the schema up to date. Blocks for as long as that takes.
    /// - Parameters:
    ///   - isServing: for the Producer, which is alone with its file: nobody else opens it so until this one is closed
    ///     or its process has ended, and what an earlier one had claimed of the outbox is free at once. Tools open it
    ///     beside.
    ///   - configure: last changes to the connections, for tests that watch the statements.
    ///   - check: run in a transaction once the schema is there; when it throws, nothing was written but the steps of
    ///     the schema.
    /// - Throws: ``StoreError/failed(_:)`` that names the file: also when a later version has migrated it; what `check`
    ///   throws.
    init(
        path: String, isServing: Bool, logger: Logger, configure: (inout Configuration) -> Void = { _ in },
        check: (SQLiteTransaction) throws -> Void
    ) throws {
        var configuration = Configuration()
        // While it is opened, and for tools, which wait behind a Producer's writes.
        configuration.busyMode = .timeout(10)
        configuration.maximumReaderCount = 4
        configuration.label = "beckon.store"
        configure(&configuration)
        // SQLite would make it readable for everybody; its log and index get the file's own mode. Whoever else opens
        // the file beside us finds it made.
        if !FileManager.default.fileExists(atPath: path) {
            _ = FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600])
        }
        file = try StoreFile(path: path, isServing: isServing)
        let lastOutboxID: Int64
        let checkpoints: LogCheckpoints
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try Migrations.run(on: pool, file: file)
            try pool.write { try check(SQLiteTransaction(connection: $0)) }
            checkpoints = try LogCheckpoints(path: path, configuration: configuration)
            lastOutboxID = try pool.writeWithoutTransaction { database in
                // GRDB opens a WAL database with synchronous=NORMAL, under which a power loss may take the last
                // commits; that can only be changed here, outside of a transaction, and on the writer's connection.
                try database.execute(sql: "PRAGMA synchronous = FULL")
                let level = try Int.fetchOne(database, sql: "PRAGMA synchronous") ?? -1
                guard level == 2 else { throw StoreError.failed("synchronous is \(level), expected 2 (FULL)") }
                let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode") ?? ""
                guard mode == "wal" else { throw StoreError.failed("journal_mode is \(mode), expected wal") }
                checkpoints.watch(database)
                // 32 MB: at thousands of writes a second the default of 2 MB reads the same pages many times a second.
                try database.execute(sql: "PRAGMA cache_size = -32768")
                if isServing {
                    try database.execute(sql: "DELETE FROM outbox_claims")
                    // A caller is told soon that the store is locked, and asks again.
                    try database.execute(sql: "PRAGMA busy_timeout = \(StorePolicy.lockWaitMs)")
                }
                return try database.lastOutboxID()
            }
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError.failed("database \(path): \(Self.storeError(error))")
        }
        self.logger = logger
        let signal = OutboxSignal(last: lastOutboxID)
        self.signal = signal
        self.checkpoints = checkpoints
        group = GroupCommit(
            pool: pool,
            beforeCommit: { database in signal.willCommit(last: try database.countOutbox()) },
            afterCommit: { database in
                signal.committed()
                checkpoints.committed(database)
            })
        logger.debug("store open", metadata: ["path": "\(path)", "synchronous": "full"])
    }

    /// Each access makes a new stream and ends the one before: one reader at a time.
    package var outbox: any OutboxStore { self }

    package var outboxSignal: AsyncStream<Void> { signal.stream() }

    package func close() async {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        await group.close()
        signal.finish()
        await withCheckedContinuation { continuation in
            // Waits for the reads under way.
            DispatchQueue.global().async { [pool, checkpoints, file, logger] in
                do {
                    // The pool closes its writer before its readers, which cannot write the log back into the file.
                    _ = try pool.writeWithoutTransaction { try $0.checkpoint(.truncate) }
                    try pool.close()
                    try checkpoints.close()
                } catch {
                    // Nothing is lost: the log is read when the file is opened again.
                    logger.warning(
                        "the store was not closed in order", metadata: ["error": "\(Self.storeError(error))"])
                }
                file.release()
                continuation.resume()
            }
        }
    }

    /// Commits shared by the writes so far, for tests and metrics.
    package var commits: Int { group.commits }

    package var fault: StoreFault? { group.fault }

    package func probe() async {
        // As much as a creation writes, and more: a disk with one page left is full.
        do {
            try await writeRows { database in
                try database.run("INSERT INTO write_probes (filler) VALUES (zeroblob(65536))")
                try database.run("DELETE FROM write_probes")
            }
            group.isWell()
        } catch {
            logger.debug("the store cannot write yet", metadata: ["error": "\(error)"])
        }
    }

    package func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value {
        try await writeRows { try body(SQLiteTransaction(connection: $0)) }
    }

    package func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value {
        try await readRows { try body(SQLiteTransaction(connection: $0)) }
    }

    func writeRows<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        guard !isClosed.load(ordering: .acquiring) else { throw StoreError.closed }
        do { return try await group.write(body) } catch { throw Self.storeError(error) }
    }

    /// Not cancelled with its task: reads are short.
    func readRows<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        guard !isClosed.load(ordering: .acquiring) else { throw StoreError.closed }
        do {
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                pool.asyncRead { result in
                    continuation.resume(with: Result { try body(result.get()) })
                }
            }
        } catch {
            throw isClosed.load(ordering: .acquiring) ? StoreError.closed : Self.storeError(error)
        }
    }

    /// SQLite's number and words, without the statement's arguments: those are identities and tokens.
    static func storeError(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: error
        case let error as DatabaseError where [.locked, .diskFull, .readOnly].contains(StoreFault(error)?.cause):
            StoreFault(error).map { .unavailable($0) } ?? .busy
        case let error as DatabaseError:
            .failed("SQLite \(error.extendedResultCode.rawValue): \(error.message ?? "no message")")
        default: .failed("\(type(of: error))")
        }
    }
}

/// Tells one reader that commits have added outbox rows.
final class OutboxSignal: Sendable {
    private struct State {
        var last: Int64
        /// Of the transaction that is being committed.
        var committing: Int64
        var continuation: AsyncStream<Void>.Continuation?
        var isFinished = false
    }

    private let state: Mutex<State>

    /// - Parameter last: the highest outbox id given out.
    init(last: Int64) { state = Mutex(State(last: last, committing: last)) }

    /// Starts with a signal: rows may have come while nobody was reading.
    func stream() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let (former, isFinished) = state.withLock { state in
            defer { state.continuation = continuation }
            return (state.continuation, state.isFinished)
        }
        former?.finish()
        continuation.yield()
        if isFinished { continuation.finish() }
        return stream
    }

    /// - Parameter last: the highest outbox id that the open transaction has given out.
    func willCommit(last: Int64) { state.withLock { $0.committing = last } }

    func committed() {
        let reader = state.withLock { state -> AsyncStream<Void>.Continuation? in
            guard state.committing > state.last else { return nil }
            state.last = state.committing
            return state.continuation
        }
        reader?.yield()
    }

    func finish() {
        let reader = state.withLock { state in
            state.isFinished = true
            return state.continuation
        }
        reader?.finish()
    }
}
