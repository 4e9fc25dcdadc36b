import Synchronization

/// Wakes the one task that waits. If no task waits, it keeps one signal. Several signals before a wait count as one.
public final class ArrivalSignal: Sendable {
    private enum State {
        case idle
        case signalled
        case waiting(CheckedContinuation<Bool, Never>)
        case ended
    }

    private let state = Mutex(State.idle)
    private let forwarded = Mutex<ArrivalSignal?>(nil)

    public init() {}

    /// Only sets the signal, so it may be called from callbacks.
    public func fire() {
        let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            switch state {
            case .idle, .signalled:
                state = .signalled
                return nil
            case .waiting(let continuation):
                state = .idle
                return continuation
            case .ended:
                return nil
            }
        }
        waiter?.resume(returning: true)
        forwarded.withLock { $0 }?.fire()
    }

    /// Ends the signal: every later wait returns false.
    public func end() {
        let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            defer { state = .ended }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
        waiter?.resume(returning: false)
        forwarded.withLock { $0 }?.fire()
    }

    func forward(to signal: ArrivalSignal) {
        forwarded.withLock { $0 = signal }
        signal.fire()
    }

    /// Waits for the signal. Only one caller at a time.
    /// - Returns: false when the signal has ended or the task is cancelled.
    public func wait() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    switch state {
                    case .ended: return false
                    case .signalled:
                        state = .idle
                        return !Task.isCancelled
                    case .idle:
                        // The handler may have run before we got here.
                        guard !Task.isCancelled else { return false }
                        state = .waiting(continuation)
                        return nil
                    case .waiting:
                        preconditionFailure("one caller at a time waits for a signal")
                    }
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
                guard case .waiting(let continuation) = state else { return nil }
                state = .idle
                return continuation
            }
            waiter?.resume(returning: false)
        }
    }
}
