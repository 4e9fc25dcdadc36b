import CoreMetrics
import KafkaGroup
import Metrics
import Synchronization

/// The names of the webhook relay's metrics.
enum WebhookMetricName: String, CaseIterable {
    /// Counter: requests to endpoints, by `result` (`delivered`, or the reason of the failure: `status`, `gone`, `redirect`,
    /// `connect`, `connect-timeout`, `read-timeout`, `closed`, `tls`, `certificate`, `certificate-name`, `not-http`, `refused`,
    /// `no-such-host`, `name-server`, `busy`, `cancelled`, `aborted-by-receiver`, `disabled-by-receiver`).
    case attempts = "beckon_webhook_attempts_total"
    /// Timer: a request from its first byte to the answer.
    case duration = "beckon_webhook_request_duration"
    /// Counter: events that went to the store instead of being delivered at once.
    case stored = "beckon_webhook_stored_total"
    /// Counter: processed records of topic `events`, by `result` (`relayed`, `unwanted`, `refused`).
    case records = "beckon_webhook_records_total"
    /// Gauge: requests that are under way.
    case inFlight = "beckon_webhook_in_flight"
    /// Gauge: endpoints whose circuit breaker is open.
    case openBreakers = "beckon_webhook_open_breakers"
    /// Gauge: seconds since the oldest stored event of this relay's partitions was due.
    case overdue = "beckon_webhook_overdue_seconds"
    /// Gauge: unprocessed records of `events`, over the partitions of this relay.
    case lag = "beckon_webhook_lag_records"
    /// Counter: failed operations of the store that are repeated.
    case storeRetries = "beckon_webhook_store_retries_total"
    /// Counter: attempts that are missing in the list of attempts because too many waited to be written.
    case attemptsUnrecorded = "beckon_webhook_attempts_unrecorded_total"
    /// Gauge: partitions of `events` that are held because their next record is signed with a key that this role does not have.
    case heldPartitions = "beckon_webhook_held_partitions"
    /// Counter: records that went to dead letters, by `topic` (without prefix) and `reason`.
    case deadLetters = "beckon_webhook_dead_letters_total"
}

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
        duration.recordNanoseconds(
            took.components.seconds * 1_000_000_000 + took.components.attoseconds / 1_000_000_000)
    }

    func stored(_ events: Int) { count(.stored, [], by: events) }
    func record(_ result: String) { count(.records, [("result", result)]) }
    func storeRetried() { count(.storeRetries, []) }
    func unrecorded(_ attempts: Int) { count(.attemptsUnrecorded, [], by: attempts) }
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
