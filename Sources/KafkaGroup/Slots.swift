import Synchronization

/// Limits how many operations are in progress at the same time. Waiters get slots in order of arrival.
public final class Slots: Sendable {
    private struct State {
        var free: Int
        var nextID = 0
        var waiting: [(id: Int, continuation: CheckedContinuation<Bool, Never>)] = []

        mutating func takeFree() -> Bool {
            guard free > 0 else { return false }
            free -= 1
            return true
        }
    }

    private let state: Mutex<State>

    public init(_ count: Int) {
        state = Mutex(State(free: count))
    }

    /// - Returns: false when the task was cancelled; the caller then has no slot.
    public func take() async -> Bool {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    if Task.isCancelled { return false }
                    if state.takeFree() { return true }
                    state.waiting.append((id, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0).continuation }
            }
            waiter?.resume(returning: false)
        }
    }

    /// - Returns: false when no slot was free in time, or the task was cancelled; the caller then has no slot.
    public func take(atMost deadline: Duration) async -> Bool {
        if state.withLock({ $0.takeFree() }) { return true }
        return await withTaskGroup(of: Bool.self) { group in
            group.addTask { await self.take() }
            group.addTask {
                try? await Task.sleep(for: deadline)
                return false
            }
            // A slot that comes together with the end of the wait is not lost.
            var isTaken = await group.next() ?? false
            group.cancelAll()
            for await isOther in group { isTaken = isTaken || isOther }
            return isTaken
        }
    }

    public func give() {
        let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        waiter?.resume(returning: true)
    }
}
