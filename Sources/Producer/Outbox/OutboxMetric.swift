import ChallengeModel
import Metrics

/// Metrics of the outbox relay and the expiry sweep.
enum OutboxMetric: String, CaseIterable {
    /// Gauge: rows waiting.
    case rows = "beckon_outbox_rows"
    /// Gauge: age of the oldest dispatch waiting, seconds; 0 when none waits.
    case oldestDispatchSeconds = "beckon_outbox_oldest_dispatch_seconds"
    /// Counter, label `topic`: records that the broker acknowledged.
    case relayed = "beckon_outbox_relayed_total"
    /// Counter: dispatches deleted unsent, because they had expired.
    case expired = "beckon_outbox_expired_total"
    /// Counter, label `reason` (`kafka`, `store`): attempts that will be made again.
    case failures = "beckon_outbox_failures_total"
    /// Counter: records that Kafka refuses for good, on `dead-letters`.
    case deadLetters = "beckon_outbox_dead_letters_total"
    /// Counter: records that `dead-letters` refused too.
    case abandoned = "beckon_outbox_abandoned_total"
    /// Gauge: rows claimed and not yet settled.
    case held = "beckon_outbox_held_rows"
    /// Gauge: partitions whose last record was not acknowledged. The others go on.
    case failingPartitions = "beckon_outbox_failing_partitions"
    /// Counter: challenges that the sweep expired.
    case challengesExpired = "beckon_challenges_expired_total"
    /// Counter: rounds of the sweep that the store failed.
    case sweepFailures = "beckon_expiry_sweep_failures_total"
}

/// The relay's counters, made once.
struct OutboxMetrics: Sendable {
    let rows: Gauge
    let oldestDispatchSeconds: Gauge
    let held: Gauge
    let failingPartitions: Gauge
    let expired: Counter
    let kafkaFailures: Counter
    let storeFailures: Counter
    let deadLetters: Counter
    let abandoned: Counter
    private let relayed: [Topic: Counter]

    init(factory: any MetricsFactory) {
        func counter(_ metric: OutboxMetric, _ dimensions: [(String, String)] = []) -> Counter {
            Counter(label: metric.rawValue, dimensions: dimensions, factory: factory)
        }
        rows = Gauge(label: OutboxMetric.rows.rawValue, factory: factory)
        oldestDispatchSeconds = Gauge(label: OutboxMetric.oldestDispatchSeconds.rawValue, factory: factory)
        held = Gauge(label: OutboxMetric.held.rawValue, factory: factory)
        failingPartitions = Gauge(label: OutboxMetric.failingPartitions.rawValue, factory: factory)
        expired = counter(.expired)
        kafkaFailures = counter(.failures, [("reason", "kafka")])
        storeFailures = counter(.failures, [("reason", "store")])
        deadLetters = counter(.deadLetters)
        abandoned = counter(.abandoned)
        relayed = Dictionary(
            uniqueKeysWithValues: Topic.allCases.map { ($0, counter(.relayed, [("topic", $0.rawValue)])) })
    }

    func relayed(_ topic: Topic) { relayed[topic]?.increment() }
}
