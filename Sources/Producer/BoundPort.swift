import Synchronization

/// A port that becomes known once its socket is bound.
final class BoundPort: Sendable {
    private enum State {
        case waiting([CheckedContinuation<Int?, Never>])
        case known(Int?)
    }

    private let state = Mutex<State>(.waiting([]))

    /// Nil when it will never be bound.
    var value: Int? {
        get async {
            await withCheckedContinuation { continuation in
                let known: Int?? = state.withLock { state in
                    switch state {
                    case .known(let port): return .some(port)
                    case .waiting(let waiting):
                        state = .waiting(waiting + [continuation])
                        return nil
                    }
                }
                if let known { continuation.resume(returning: known) }
            }
        }
    }

    /// The first call counts.
    func resolve(_ port: Int?) {
        let waiting = state.withLock { state -> [CheckedContinuation<Int?, Never>] in
            guard case .waiting(let waiting) = state else { return [] }
            state = .known(port)
            return waiting
        }
        for continuation in waiting { continuation.resume(returning: port) }
    }
}
