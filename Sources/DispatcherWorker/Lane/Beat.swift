import Dispatch
import KafkaClient
import Synchronization

/// Wakes lanes together, a moment after the first of them has work. At 25,000 pushes a second, each push has an answer
/// and an acknowledgement, which arrive one by one on other threads. Waking a task for each would cost more in context
/// switches than the task's work.
final class Beat: Sendable {
    /// Longest wait of an answer before its outcome is created.
    static let pause = DispatchTimeInterval.microseconds(800)

    private let waiting = Mutex<[ArrivalSignal]>([])
    private let queue = DispatchQueue(label: "beckon.dispatcher.beat", qos: .userInitiated)

    /// Fires the signal soon. Bounded by the number of lanes, because each lane asks once per turn.
    func fire(_ signal: ArrivalSignal) {
        let isFirst = waiting.withLock { waiting in
            waiting.append(signal)
            return waiting.count == 1
        }
        if isFirst { queue.asyncAfter(deadline: .now() + Self.pause) { self.fireAll() } }
    }

    private func fireAll() {
        let signals = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for signal in signals { signal.fire() }
    }
}
