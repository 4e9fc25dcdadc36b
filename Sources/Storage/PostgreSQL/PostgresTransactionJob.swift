import Challenges
import Foundation
import Synchronization
import Wire

/// What a transaction tells the engine while it is carried out.
protocol PostgresObserver: AnyObject, Sendable {
    /// - Parameter addsOutboxRows: it has written rows on their way to Kafka, or may have.
    func committed(addsOutboxRows: Bool)
    /// The database takes connections, and cannot write.
    func cannotWrite(_ fault: StoreFault)
    func repeated()
    /// What became of a COMMIT that was not answered; nil: it could not be told.
    func settled(_ fate: CommitFate?)
}

/// One caller's transaction: repeated where that is safe, and settled where its COMMIT was not answered.
final class PostgresTransactionJob<Value: Sendable>: PostgresJob {
    private struct Unsettled {
        let commit: UnknownCommit
        let value: Value
        let lostAt: ContinuousClock.Instant
        let cause: PostgresError
    }

    private struct State {
        var repetitions = 0
        /// Its COMMIT was sent.
        var unsettled: Unsettled?
        var continuation: CheckedContinuation<Value, any Error>?
    }

    /// Repetitions of a transaction that met another one, or lost its connection.
    private static var bound: Int { 3 }
    /// How long an old session may be at its COMMIT before it is ended.
    private static var patience: Duration { .milliseconds(250) }

    private let mode: PostgresConnection.Mode
    private let body: @Sendable (PostgresConnection) throws -> Value
    private let observer: any PostgresObserver
    private let startedAt = ContinuousClock.now
    private let deadline: ContinuousClock.Instant
    private let state: Mutex<State>

    init(
        _ mode: PostgresConnection.Mode, deadline: Duration, observer: any PostgresObserver,
        continuation: CheckedContinuation<Value, any Error>,
        body: @escaping @Sendable (PostgresConnection) throws -> Value
    ) {
        self.mode = mode
        self.body = body
        self.observer = observer
        self.deadline = startedAt + deadline
        state = Mutex(State(continuation: continuation))
    }

    func refuse(_ error: StoreError) {
        guard let unsettled = state.withLock({ $0.unsettled }) else { return finish(.failure(error)) }
        observer.settled(nil)
        finish(.failure(Self.unknown(unsettled.cause.description)))
    }

    func run(on connection: PostgresConnection) -> PostgresJobEnd {
        if let unsettled = state.withLock({ $0.unsettled }) {
            if let end = settle(unsettled, on: connection) { return end }
            // It was aborted: from the start.
        }
        while ContinuousClock.now < deadline {
            if let end = attempt(on: connection) { return end }
        }
        finish(.failure(.busy))
        return .done
    }

    /// - Returns: nil: again.
    private func attempt(on connection: PostgresConnection) -> PostgresJobEnd? {
        connection.begin(mode, deadline: deadline)
        let value: Value
        do { value = try body(connection) } catch { return failed(connection.failure ?? error, on: connection) }
        if mode == .write {
            do {
                try connection.commit()
            } catch let lost as PostgresConnection.CommitLost {
                let lostAt = ContinuousClock.now
                state.withLock {
                    $0.unsettled = Unsettled(commit: lost.commit, value: value, lostAt: lostAt, cause: lost.cause)
                }
                connection.rollBack()
                return .settle(until: max(deadline, lostAt + .seconds(2)), openedBefore: startedAt)
            } catch {
                return failed(connection.failure ?? error, on: connection)
            }
        }
        if mode == .write { observer.committed(addsOutboxRows: connection.addsOutboxRows) }
        finish(.success(value))
        // A snapshot ends behind its caller's back.
        connection.rollBack()
        return .done
    }

    private func failed(_ error: any Error, on connection: PostgresConnection) -> PostgresJobEnd? {
        if error is PostgresConnection.NeedsSnapshot {
            connection.rollBack()
            return nil
        }
        guard let error = error as? PostgresError else {
            // The body's own refusal: told first, undone behind its caller's back.
            finish(.failure(error as? StoreError ?? .failed("\(type(of: error))")))
            connection.rollBack()
            return .done
        }
        switch error.remedy {
        case .again, .prepareAgain:
            connection.rollBack()
            if error.remedy == .prepareAgain { connection.forgetStatements() }
            guard mayRepeat() else { return end(.failure(error.remedy == .again ? .busy : .failed(error.description))) }
            pause(.milliseconds(Int.random(in: 5...40)), until: deadline)
            return connection.isOpen ? nil : .elsewhere(until: deadline)
        case .againWhileTimeLasts:
            connection.rollBack()
            observer.repeated()
            pause(.milliseconds(Int.random(in: 20...100)), until: deadline)
            guard ContinuousClock.now < deadline else {
                return end(.failure(.unavailable(StoreFault(.locked, detail: error.description))))
            }
            return connection.isOpen ? nil : .elsewhere(until: deadline)
        case .reconnect, .leaveServer:
            connection.link.abandon(error)
            guard ContinuousClock.now < deadline, mayRepeat() else { return end(.failure(.unavailable(error.fault))) }
            return .elsewhere(until: min(deadline, .now + .seconds(1)))
        case .refuse(let refusal):
            connection.rollBack()
            return end(.failure(refusal))
        case .fault(let fault):
            connection.rollBack()
            observer.cannotWrite(fault)
            return end(.failure(.unavailable(fault)))
        }
    }

    // MARK: - A COMMIT that was not answered

    private func settle(_ unsettled: Unsettled, on connection: PostgresConnection) -> PostgresJobEnd? {
        let end = max(deadline, unsettled.lostAt + .seconds(2))
        let askedAt = ContinuousClock.now
        var backoff = Backoff(first: .milliseconds(1), most: .milliseconds(50))
        var isEnded = false
        while true {
            let fate: CommitFate
            do {
                fate = try connection.fate(of: unsettled.commit, deadline: .now + .seconds(2))
            } catch let error as PostgresError where !connection.isOpen && ContinuousClock.now < end {
                _ = error
                return .settle(until: end, openedBefore: startedAt)
            } catch {
                return isUnknown("\(error)")
            }
            switch fate {
            case .committed:
                observer.settled(.committed)
                observer.committed(addsOutboxRows: true)
                return self.end(.success(unsettled.value))
            case .aborted:
                observer.settled(.aborted)
                state.withLock { $0.unsettled = nil }
                guard ContinuousClock.now < deadline, mayRepeat() else {
                    return self.end(.failure(.unavailable(unsettled.cause.fault)))
                }
                return nil
            case .unknown(let reason): return isUnknown(reason)
            case .open(let waitsForStandby):
                if waitsForStandby { observer.cannotWrite(.standbyAway) }
                guard ContinuousClock.now < end else { return isUnknown("the server is still at the COMMIT") }
                if !isEnded, ContinuousClock.now - askedAt > Self.patience {
                    isEnded = true
                    do { try connection.endSession(of: unsettled.commit, deadline: .now + .seconds(2)) } catch {
                        // Not permitted, or gone: it is asked again all the same.
                        guard connection.isOpen else { return .settle(until: end, openedBefore: startedAt) }
                    }
                }
                pause(backoff.failed(), until: end)
            }
        }
    }

    private func isUnknown(_ reason: String) -> PostgresJobEnd {
        observer.settled(nil)
        return end(.failure(Self.unknown(reason)))
    }

    private static func unknown(_ reason: String) -> StoreError {
        .unavailable(
            StoreFault(.unreachable, detail: "whether a change was made is not known: \(reason)", mayBeDone: true))
    }

    // MARK: -

    private func mayRepeat() -> Bool {
        let may = state.withLock { state in
            state.repetitions += 1
            return state.repetitions <= Self.bound
        }
        if may { observer.repeated() }
        return may
    }

    private func pause(_ wait: Duration, until end: ContinuousClock.Instant) {
        let left = max(.zero, end - .now)
        Thread.sleep(forTimeInterval: min(wait, left).inSeconds)
    }

    private func end(_ result: Result<Value, StoreError>) -> PostgresJobEnd {
        finish(result)
        return .done
    }

    private func finish(_ result: Result<Value, StoreError>) {
        let continuation = state.withLock { state in
            defer { state.continuation = nil }
            return state.continuation
        }
        continuation?.resume(with: result.mapError { $0 as any Error })
    }
}
