import KafkaClient
import Synchronization

/// What all lanes of a process together may have in flight.
final class ProcessWindow: Sendable {
    private struct State {
        var pushes = 0
        var bytes = 0
        var waiting: [ObjectIdentifier: ArrivalSignal] = [:]
    }

    private let maxPushes: Int
    private let maxBytes: Int
    private let state = Mutex(State())

    init(maxPushes: Int, maxBytes: Int) {
        self.maxPushes = maxPushes
        self.maxBytes = maxBytes
    }

    var pushes: Int { state.withLock { $0.pushes } }

    /// A lane has taken (more than zero) or finished (less) work. Wakes who waits once an eighth is free, so that they
    /// are not all woken for every single push; a lane also looks by itself ten times a second.
    func adjust(pushes: Int, bytes: Int) {
        guard pushes != 0 || bytes != 0 else { return }
        let wake = state.withLock { state -> [ArrivalSignal] in
            state.pushes += pushes
            state.bytes += bytes
            guard !state.waiting.isEmpty, state.pushes <= maxPushes - maxPushes / 8, state.bytes < maxBytes else {
                return []
            }
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for signal in wake { signal.fire() }
    }

    /// - Parameter signal: fired when there is room again.
    func hasRoom(orWake signal: ArrivalSignal) -> Bool {
        state.withLock { state in
            if hasRoom(state) { return true }
            state.waiting[ObjectIdentifier(signal)] = signal
            return false
        }
    }

    private func hasRoom(_ state: borrowing State) -> Bool { state.pushes < maxPushes && state.bytes < maxBytes }
}
