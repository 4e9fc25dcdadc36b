import Synchronization

/// A port that is known once a server has opened it. The first call of ``set(_:)`` or ``fail()`` counts.
public final class BoundPort: Sendable {
    private struct State {
        var result: Result<Int, CancellationError>?
        /// Bounded by who waits: the role's start and its tests.
        var waiters: [Int: CheckedContinuation<Int, any Error>] = [:]
        var next = 0
    }

    private let state = Mutex(State())

    public init() {}

    public func set(_ port: Int) { settle(.success(port)) }

    /// There will be none: whoever waits is told so.
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
