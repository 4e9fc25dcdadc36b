import Synchronization

/// One webhook's place in this process: its requests under way, and the fresh events that wait for a place.
///
/// An endpoint that answers makes its events wait for their turn, which holds their partitions back: nothing is lost,
/// and nothing needs the store. An endpoint at which an event has waited for ``mostWaitMs`` is slow: from then on,
/// until a place is free again, its events go to the store without an attempt, so that it holds no partition.
final class Endpoint: Sendable {
    static let mostWaitMs: Int64 = 1000

    private struct Waiter {
        let id: Int
        let sinceMs: Int64
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var state = EndpointState()
        var waiters: [Waiter] = []
        var nextID = 0
        var isSlow = false
    }

    private let nowMs: @Sendable () -> Int64
    private let state = Mutex(State())

    /// - Parameter nowMs: of a clock that never goes back.
    init(nowMs: @escaping @Sendable () -> Int64) {
        self.nowMs = nowMs
    }

    /// A place for a fresh event.
    /// - Returns: false: it goes to the store, because the endpoint is slow or its breaker is open, or the task was
    ///   cancelled.
    func admit() async -> Bool {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    if Task.isCancelled { return false }
                    if state.waiters.isEmpty, state.state.begin(atMs: nowMs()) {
                        state.isSlow = false
                        return true
                    }
                    guard state.state.isClosed, !state.isSlow else { return false }
                    state.waiters.append(Waiter(id: id, sinceMs: nowMs(), continuation: continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
            }
            waiter?.continuation.resume(returning: false)
        }
    }

    /// A place for an event of the store, which does not wait.
    func tryAdmit() -> Bool { state.withLock { $0.state.begin(atMs: nowMs()) } }

    /// Gives the place back, and hands free places on.
    /// - Returns: true when the endpoint is well again after its breaker was open.
    func end(_ result: AttemptResult) -> Bool {
        let (isBack, admitted, refused) = state.withLock { state -> (Bool, [Waiter], [Waiter]) in
            let isBack = state.state.end(result, atMs: nowMs())
            guard state.state.isClosed else {
                defer { state.waiters = [] }
                return (isBack, [], state.waiters)
            }
            var admitted: [Waiter] = []
            while admitted.count < state.waiters.count, state.state.begin(atMs: nowMs()) {
                admitted.append(state.waiters[admitted.count])
            }
            state.waiters.removeFirst(admitted.count)
            return (isBack, admitted, [])
        }
        for waiter in admitted { waiter.continuation.resume(returning: true) }
        for waiter in refused { waiter.continuation.resume(returning: false) }
        return isBack
    }

    /// Sends what has waited too long to the store. Call it about ten times a second.
    func tick() {
        let late = state.withLock { state -> [Waiter] in
            let nowMs = nowMs()
            let count = state.waiters.prefix { nowMs - $0.sinceMs >= Self.mostWaitMs }.count
            guard count > 0 else { return [] }
            state.isSlow = true
            defer { state.waiters = [] }
            // Those behind would wait as long.
            return state.waiters
        }
        for waiter in late { waiter.continuation.resume(returning: false) }
    }

    var waitingCount: Int { state.withLock { $0.waiters.count } }
    var inFlight: Int { state.withLock { $0.state.inFlight } }
    var isOpen: Bool { state.withLock { !$0.state.isClosed } }
    var isIdle: Bool { state.withLock { $0.state.inFlight == 0 && $0.waiters.isEmpty && $0.state.isClosed } }
}
