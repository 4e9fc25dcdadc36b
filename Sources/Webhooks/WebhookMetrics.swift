import Challenges
import CoreMetrics
import KafkaGroup
import Metrics
import Synchronization
import Wire

/// The webhook relay's metrics. Label sets are bounded: all values come from enums.
final class WebhookMetrics: Sendable {
    private let factory: any MetricsFactory
    private let counters = Mutex<[String: Counter]>([:])
    private let duration: Timer
    private let gauges: [WebhookMetricName: Gauge]

    init(factory: any MetricsFactory) {
        self.factory = factory
        duration = Timer(label: WebhookMetricName.duration.rawValue, factory: factory)
        let names: [WebhookMetricName] = [.inFlight, .openBreakers, .overdue, .lag, .heldPartitions]
        gauges = Dictionary(uniqueKeysWithValues: names.map { ($0, Gauge(label: $0.rawValue, factory: factory)) })
    }

    func attempt(_ result: AttemptResult, took: Duration) {
        count(.attempts, [("result", result.disposition == .delivered ? "delivered" : result.reason)])
        duration.recordNanoseconds(took.wholeNanoseconds)
    }

    func stored(_ events: Int) { count(.stored, [], by: events) }
    func record(_ result: String) { count(.records, [("result", result)]) }
    func storeRetried() { count(.storeRetries, []) }
    func unrecorded(_ attempts: Int) { count(.attemptsUnrecorded, [], by: attempts) }
    func alerts(_ counts: AlertCounts) {
        for result in AlertCounts.Result.allCases where counts[result] > 0 {
            count(.alerts, [("result", result.rawValue)], by: counts[result])
        }
    }

    func set(_ name: WebhookMetricName, _ value: Double) { gauges[name]?.record(value) }

    func deadLetter(_ fate: DeadLetters.Fate, topic: String, reason: String) {
        count(.deadLetters, [("topic", topic), ("reason", fate == .written ? reason : "refused")])
    }

    private func count(_ name: WebhookMetricName, _ dimensions: [(String, String)], by amount: Int = 1) {
        let key = name.rawValue + (dimensions.map { "\n\($0.1)" }).joined()
        let counter = counters.withLock { counters in
            if let known = counters[key] { return known }
            let made = Counter(label: name.rawValue, dimensions: dimensions, factory: factory)
            counters[key] = made
            return made
        }
        counter.increment(by: amount)
    }
}
