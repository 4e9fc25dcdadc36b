import Synchronization

/// A port that becomes known when a server has opened it. Only the first call of ``set(_:)`` or ``fail()`` counts.
public final class BoundPort: Sendable {
    private struct State {
        var result: Result<Int, CancellationError>?
        /// Bounded, because only the start of the role and its tests wait.
        var waiters: [Int: CheckedContinuation<Int, any Error>] = [:]
        var next = 0
    }

    private let state = Mutex(State())

    public init() {}

    public func set(_ port: Int) { settle(.success(port)) }

    /// Reports that there will be no port: all waiters throw.
    public func fail() { settle(.failure(CancellationError())) }

    private func settle(_ result: Result<Int, CancellationError>) {
        let waiters = state.withLock { state -> [Int: CheckedContinuation<Int, any Error>] in
            guard state.result == nil else { return [:] }
            state.result = result
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(with: result) }
    }

    /// - Throws: `CancellationError` after ``fail()``, or when the waiting task is cancelled.
    public func wait() async throws -> Int {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result = state.withLock { state -> Result<Int, CancellationError>? in
                    if let result = state.result { return result }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiters[number] = continuation
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: number) }?.resume(throwing: CancellationError())
        }
    }
}
