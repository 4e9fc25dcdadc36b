import CoreMetrics
import Synchronization

/// One line, or one histogram, of the text.
protocol PrometheusSeries: AnyObject, Sendable {
    func render(name: String, labels: String, into text: inout String)
}

extension PrometheusSeries {
    func line(_ name: String, _ labels: String, _ value: String) -> String {
        labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
    }
}

final class CounterSeries: PrometheusSeries, CounterHandler {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) { value.add(amount, ordering: .relaxed) }
    func reset() { value.store(0, ordering: .relaxed) }

    func render(name: String, labels: String, into text: inout String) {
        text += line(name, labels, String(value.load(ordering: .relaxed)))
    }
}

final class FloatingCounterSeries: PrometheusSeries, FloatingPointCounterHandler {
    private let value = Mutex(0.0)

    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func reset() { value.withLock { $0 = 0 } }

    func render(name: String, labels: String, into text: inout String) {
        text += line(name, labels, number(value.withLock { $0 }))
    }
}

final class GaugeSeries: PrometheusSeries, MeterHandler, RecorderHandler {
    private struct State {
        var value = 0.0
        /// For an age: the moment at which the age was 0; nil: nothing is waiting.
        var since: ContinuousClock.Instant?
    }

    private let isAge: Bool
    private let state = Mutex(State())

    /// - Parameter isAge: true for seconds that go on growing after they were recorded.
    init(isAge: Bool = false) { self.isAge = isAge }

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) {
        let since = isAge && value > 0 ? ContinuousClock.now - .seconds(value) : nil
        state.withLock { $0 = State(value: value, since: since) }
    }
    func increment(by amount: Double) { state.withLock { $0.value += amount } }
    func decrement(by amount: Double) { state.withLock { $0.value -= amount } }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }

    func render(name: String, labels: String, into text: inout String) {
        let state = state.withLock { $0 }
        text += line(name, labels, number(state.since.map { (ContinuousClock.now - $0) / .seconds(1) } ?? state.value))
    }
}

/// A value that is read whenever the text is rendered.
final class ObservedSeries: PrometheusSeries {
    private let read: @Sendable () -> Double?

    init(read: @escaping @Sendable () -> Double?) { self.read = read }

    func render(name: String, labels: String, into text: inout String) {
        if let value = read() { text += line(name, labels, number(value)) }
    }
}

final class HistogramSeries: PrometheusSeries, TimerHandler, RecorderHandler {
    private struct State {
        var counts: [Int]
        var count = 0
        var sum = 0.0
    }

    private let scale: Double
    /// Upper bounds, in the unit shown (seconds for timers).
    private let bounds: [Double]
    private let state: Mutex<State>

    /// - Parameter scale: factor from the recorded to the shown unit: 1e-9 for nanoseconds.
    init(scale: Double, bounds: [Double]) {
        self.scale = scale
        self.bounds = bounds
        state = Mutex(State(counts: [Int](repeating: 0, count: bounds.count)))
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }
    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        let shown = value * scale
        state.withLock { state in
            state.count += 1
            state.sum += shown
            if let index = bounds.firstIndex(where: { shown <= $0 }) { state.counts[index] += 1 }
        }
    }

    func render(name: String, labels: String, into text: inout String) {
        let state = state.withLock { $0 }
        let separator = labels.isEmpty ? "" : ","
        var below = 0
        for (bound, count) in zip(bounds, state.counts) {
            below += count
            text += "\(name)_bucket{\(labels)\(separator)le=\"\(number(bound))\"} \(below)\n"
        }
        text += "\(name)_bucket{\(labels)\(separator)le=\"+Inf\"} \(state.count)\n"
        text += line(name + "_sum", labels, number(state.sum))
        text += line(name + "_count", labels, String(state.count))
    }
}

/// Whole numbers without a fraction.
private func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
}
