import ChallengeModel
import Metrics
import ServiceSupport

/// Metrics of the outbox relay and the expiry sweep.
enum OutboxMetric: String, MetricNames {
    case rows = "beckon_outbox_rows"
    case oldestDispatchSeconds = "beckon_outbox_oldest_dispatch_seconds"
    case relayed = "beckon_outbox_relayed_total"
    case expired = "beckon_outbox_expired_total"
    case failures = "beckon_outbox_failures_total"
    case deadLetters = "beckon_outbox_dead_letters_total"
    case abandoned = "beckon_outbox_abandoned_total"
    case held = "beckon_outbox_held_rows"
    case failingPartitions = "beckon_outbox_failing_partitions"
    case challengesExpired = "beckon_challenges_expired_total"
    case sweepFailures = "beckon_expiry_sweep_failures_total"

    var family: MetricFamily {
        switch self {
        case .rows: .gauge(rawValue, "Rows of the outbox that wait for Kafka.")
        case .oldestDispatchSeconds:
            .age(rawValue, "Age of the oldest dispatch that waits in the outbox. 0: none waits.")
        case .relayed:
            .counter(
                rawValue, "Records that the broker acknowledged.", [.init("topic", Topic.allCases.map(\.rawValue))])
        case .expired: .counter(rawValue, "Dispatches that were deleted unsent, because they had expired.")
        case .failures:
            .counter(
                rawValue, "Failed attempts of the relay that will be repeated.", [.init("reason", ["kafka", "store"])])
        case .deadLetters: .counter(rawValue, "Records that Kafka permanently refuses, on dead-letters.")
        case .abandoned: .counter(rawValue, "Records that the topic dead-letters refused too.")
        case .held: .gauge(rawValue, "Rows of the outbox that are claimed and not settled yet.")
        case .failingPartitions:
            .gauge(rawValue, "Partitions whose last record was not acknowledged. The others continue.")
        case .challengesExpired: .counter(rawValue, "Challenges that the sweep expired.")
        case .sweepFailures: .counter(rawValue, "Rounds of the sweep that failed because of the store.")
        }
    }
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
