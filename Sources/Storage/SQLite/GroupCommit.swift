import Challenges
import GRDB
import Synchronization

/// Writes of many callers share one transaction and so one fsync: whoever comes while a commit is under way joins the
/// next.
///
/// Each write runs in its own savepoint, so that one that throws undoes only itself. Callers return after the commit
/// that holds their write. When the transaction cannot begin, cannot commit, or is lost on the way (SQLite rolls back
/// by itself on a full disk), every write of the group fails and none of them has an effect. While another process
/// holds the lock, one group at a time waits for it, as long as the writer's busy timeout; every other write is refused
/// at once.
final class GroupCommit: Sendable {
    /// One caller's write.
    private protocol Job: Sendable {
        /// Runs it in the open transaction. Throws only when the whole group must be undone.
        /// - Returns: how to tell the caller once the commit is known; called once, with what went wrong. And what of
        ///   the store kept it from its work, when the transaction goes on all the same: a full disk may undo one
        ///   statement only.
        func run(_ database: Database) throws -> (tell: @Sendable ((any Error)?) -> Void, fault: StoreFault?)
        /// Tells the caller of a job that was not run.
        func refuse(_ error: any Error)
    }

    private struct Write<Value: Sendable>: Job {
        let body: @Sendable (Database) throws -> Value
        let continuation: CheckedContinuation<Value, any Error>

        func run(_ database: Database) throws -> (tell: @Sendable ((any Error)?) -> Void, fault: StoreFault?) {
            let outcome: Result<Value, any Error>
            var fault: StoreFault?
            try database.run("SAVEPOINT job")
            do {
                let value = try body(database)
                // A statement that failed and was caught may have ended the transaction all the same.
                guard database.isInsideTransaction else { throw StoreError.failed("SQLite gave the transaction up") }
                outcome = .success(value)
            } catch {
                guard database.isInsideTransaction else { throw error }
                try database.run("ROLLBACK TO job")
                outcome = .failure(error)
                fault = StoreFault(error)
            }
            try database.run("RELEASE job")
            return (
                { [continuation] commitError in
                    if let commitError {
                        continuation.resume(throwing: commitError)
                    } else {
                        continuation.resume(with: outcome)
                    }
                }, fault
            )
        }

        func refuse(_ error: any Error) { continuation.resume(throwing: error) }
    }

    private struct State {
        var waiting: [any Job] = []
        var isDraining = false
        var isClosed = false
        /// Of the last group that failed.
        var fault: (fault: StoreFault, error: any Error)?
    }

    private let bound: Int
    private let largestGroup: Int
    private let pool: DatabasePool
    private let beforeCommit: @Sendable (Database) throws -> Void
    private let afterCommit: @Sendable (Database) -> Void
    private let state = Mutex(State())
    private let commitCount = Atomic(0)

    /// - Parameters:
    ///   - bound: how many writes may wait; more are refused with ``StoreError/busy``.
    ///   - largestGroup: writes that one transaction holds at most.
    ///   - beforeCommit: what every transaction ends with; when it throws, none of the group's writes has an effect.
    ///   - afterCommit: called on the writer's thread after each commit, outside of a transaction.
    init(
        pool: DatabasePool, bound: Int = 20_000, largestGroup: Int = 500,
        beforeCommit: @escaping @Sendable (Database) throws -> Void = { _ in },
        afterCommit: @escaping @Sendable (Database) -> Void
    ) {
        self.pool = pool
        self.bound = bound
        self.largestGroup = largestGroup
        self.beforeCommit = beforeCommit
        self.afterCommit = afterCommit
    }

    /// A write that takes as much of the disk as any has been done. What is small may go through while the disk is
    /// full.
    func isWell() { state.withLock { $0.fault = nil } }

    /// Why writes fail; nil: they do not. That of a locked store ends with the next write that is done, any other with
    /// ``isWell()``.
    var fault: StoreFault? { state.withLock { $0.fault?.fault } }

    /// Commits so far.
    var commits: Int { commitCount.load(ordering: .relaxed) }

    /// Runs `body` on the writer's thread and returns when it is committed. Cancelling the caller changes nothing.
    func write<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
            let job = Write(body: body, continuation: continuation)
            let (refusal, starts) = state.withLock { state -> ((any Error)?, Bool) in
                if state.isClosed { return (StoreError.closed, false) }
                if let (fault, error) = state.fault, fault.cause == .locked, state.isDraining { return (error, false) }
                guard state.waiting.count < bound else { return (StoreError.busy, false) }
                state.waiting.append(job)
                defer { state.isDraining = true }
                return (nil, !state.isDraining)
            }
            if let refusal { job.refuse(refusal) }
            if starts { pool.asyncWriteWithoutTransaction { self.drain($0) } }
        }
    }

    /// Refuses what comes from now on; returns when what was admitted is committed. Idempotent.
    func close() async {
        state.withLock { $0.isClosed = true }
        // The writer's queue is serial: behind a drain under way.
        await withCheckedContinuation { continuation in
            pool.asyncWriteWithoutTransaction { _ in continuation.resume() }
        }
    }

    private func drain(_ database: Database) {
        while true {
            let jobs = state.withLock { state -> [any Job] in
                let taken = Array(state.waiting.prefix(largestGroup))
                state.waiting.removeFirst(taken.count)
                if taken.isEmpty { state.isDraining = false }
                return taken
            }
            if jobs.isEmpty { return }
            let (failure, tell) = commit(jobs, on: database)
            guard let failure, let fault = StoreFault(failure) else {
                tell()
                continue
            }
            // Those that wait would each wait for the lock in their turn, one group after the other.
            let left = state.withLock { state -> [any Job]? in
                state.fault = (fault, failure)
                guard fault.cause == .locked else { return nil }
                defer { state.waiting = [] }
                state.isDraining = false
                return state.waiting
            }
            tell()
            guard let left else { continue }
            for job in left { job.refuse(failure) }
            return
        }
    }

    /// - Returns: why none of the writes has an effect, and how to tell their callers what became of them.
    private func commit(_ jobs: [any Job], on database: Database) -> ((any Error)?, tell: () -> Void) {
        var tellers: [@Sendable ((any Error)?) -> Void] = []
        tellers.reserveCapacity(jobs.count)
        var failure: (any Error)?
        var ofJob: StoreFault?
        do {
            try database.inTransaction(.immediate) {
                for job in jobs {
                    let (tell, fault) = try job.run(database)
                    tellers.append(tell)
                    ofJob = fault ?? ofJob
                }
                try beforeCommit(database)
                return .commit
            }
            commitCount.add(1, ordering: .relaxed)
            state.withLock { state in
                if let ofJob {
                    state.fault = (ofJob, StoreError.unavailable(ofJob))
                } else if state.fault?.fault.cause == .locked {
                    state.fault = nil
                }
            }
            afterCommit(database)
        } catch {
            failure = error
        }
        return (
            failure,
            {
                for tell in tellers { tell(failure) }
                if let failure {
                    for job in jobs[tellers.count...] { job.refuse(failure) }
                }
            }
        )
    }
}

extension StoreFault {
    /// Nil for an error that is not the disk's, the file's or another process's.
    init?(_ error: any Error) {
        guard let error = error as? DatabaseError else { return nil }
        let cause: Cause
        switch error.resultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED: cause = .locked
        case .SQLITE_FULL: cause = .diskFull
        case .SQLITE_READONLY, .SQLITE_PERM: cause = .readOnly
        case .SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_NOMEM: cause = .failing
        default: return nil
        }
        self.init(
            cause, detail: "SQLite \(error.extendedResultCode.rawValue): \(error.message ?? "no message")")
    }
}
