import Challenges
import CoreMetrics
import Metrics
import Synchronization

/// The connections of a store behind a network, as metrics.
final class StoreConnectionMetrics: Sendable {
    /// The values of the label `what`, in the order of the counters.
    static let transactions = ["refused", "repeated", "found-done", "found-undone", "unknown"]

    private let open: Gauge
    private let busy: Gauge
    private let waiting: Gauge
    private let transactions: [Counter]
    private let counted = Mutex([Int](repeating: 0, count: 5))

    init(factory: any MetricsFactory) {
        func gauge(_ state: String) -> Gauge {
            Gauge(
                label: ProducerMetricName.storeConnections.rawValue, dimensions: [("state", state)], factory: factory)
        }
        (open, busy, waiting) = (gauge("open"), gauge("busy"), gauge("waiting"))
        transactions = Self.transactions.map {
            Counter(
                label: ProducerMetricName.storeTransactions.rawValue, dimensions: [("what", $0)], factory: factory)
        }
    }

    func record(_ connections: StoreConnections) {
        open.record(connections.open)
        busy.record(connections.busy)
        waiting.record(connections.waiting)
        let now = [
            connections.refused, connections.repeated, connections.settledCommits, connections.settledAborts,
            connections.unknownCommits,
        ]
        let former = counted.withLock { counted in
            defer { counted = now }
            return counted
        }
        for (counter, (now, former)) in zip(transactions, zip(now, former)) {
            counter.increment(by: max(0, now - former))
        }
    }
}
