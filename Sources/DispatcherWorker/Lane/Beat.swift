import Dispatch
import KafkaClient
import Synchronization

/// Wakes lanes together, a moment after the first has something to do. At 25,000 pushes a second every push has an answer and
/// an acknowledgement, which arrive one by one on other threads: waking a task for each costs more in context switches than
/// what it then does.
final class Beat: Sendable {
    /// What an answer waits for at most, before its outcome is made.
    static let pause = DispatchTimeInterval.microseconds(800)

    private let waiting = Mutex<[ArrivalSignal]>([])
    private let queue = DispatchQueue(label: "beckon.dispatcher.beat", qos: .userInitiated)

    /// Fires the signal soon. Bounded by the number of lanes: each asks once per turn.
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
