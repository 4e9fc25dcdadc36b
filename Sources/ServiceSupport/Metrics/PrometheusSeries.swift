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
    private let value = Mutex(0.0)

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { value.withLock { $0 -= amount } }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }

    func render(name: String, labels: String, into text: inout String) {
        text += line(name, labels, number(value.withLock { $0 }))
    }
}

final class HistogramSeries: PrometheusSeries, TimerHandler, RecorderHandler {
    /// Upper bounds, in the unit shown (seconds for timers).
    static let bounds = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
    ]

    private struct State {
        var counts = [Int](repeating: 0, count: HistogramSeries.bounds.count)
        var count = 0
        var sum = 0.0
    }

    private let scale: Double
    private let state = Mutex(State())

    /// - Parameter scale: factor from the recorded to the shown unit: 1e-9 for nanoseconds.
    init(scale: Double) { self.scale = scale }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }
    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        let shown = value * scale
        state.withLock { state in
            state.count += 1
            state.sum += shown
            if let index = Self.bounds.firstIndex(where: { shown <= $0 }) { state.counts[index] += 1 }
        }
    }

    func render(name: String, labels: String, into text: inout String) {
        let state = state.withLock { $0 }
        let separator = labels.isEmpty ? "" : ","
        var below = 0
        for (bound, count) in zip(Self.bounds, state.counts) {
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
