import Synchronization

/// A bounded number of bodies run at a time. The others wait in the order in which they came.
///
/// It is no actor: the bodies would then run on the actor's executor, one after the other between their suspensions.
public final class Turns: Sendable {
    /// Cases with stores on the shared PostgreSQL server. Each opens up to 12 of its connections.
    public static let postgres = Turns(6)
    /// Tests that run the roles as processes: up to twelve processes each.
    public static let clusters = Turns(3)

    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    public init(_ count: Int) { state = Mutex(State(free: count)) }

    /// Waits for a turn, also when the task is cancelled: each turn ends by itself.
    public func withOne<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.free > 0 else {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isFree { continuation.resume() }
        }
        defer { giveBack() }
        return try await body()
    }

    private func giveBack() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.free += 1
            return nil
        }
        next?.resume()
    }
}
