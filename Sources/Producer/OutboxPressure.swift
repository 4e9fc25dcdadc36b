import Challenges
import Logging
import ServiceSupport
import Synchronization

/// Whether the outbox holds more rows than it may: then creations are refused until it has drained. Sampled, so that a creation
/// costs no look at the store; between two samples the outbox can outgrow its limit by what is created in that time.
final class OutboxPressure: Sendable {
    private let over = Atomic(false)
    private let half = Atomic(false)

    var isOver: Bool { over.load(ordering: .relaxed) }

    /// More than half of what it may hold: what can wait, waits, so that creations are not refused for its sake.
    var isHalfFull: Bool { half.load(ordering: .relaxed) }

    /// - Returns: whether that changed anything.
    @discardableResult
    func update(rows: Int, limit: Int) -> Bool {
        let isOver = rows > limit
        half.store(rows > limit / 2, ordering: .relaxed)
        return over.exchange(isOver, ordering: .relaxed) != isOver
    }

    /// Samples until cancelled, and counts the store's commits.
    func watch(
        store: ChallengeStore, limit: Int, every interval: Duration, readiness: Readiness,
        metrics: ProducerMetrics, logger: Logger
    ) async {
        let log = StoreLog(logger)
        var commits = 0
        while !Task.isCancelled {
            do {
                let counted = store.commits
                metrics.committed(counted - commits)
                commits = counted
                let rows = try await store.outbox.outboxState().rows
                if update(rows: rows, limit: limit) {
                    logger.warning(
                        isOver ? "the outbox is over its limit: creations get 503" : "the outbox has drained",
                        metadata: ["rows": "\(rows)", "limit": "\(limit)"])
                }
                if isOver {
                    readiness.fail("outbox-limit", "\(rows) rows wait for Kafka, the limit is \(limit)")
                } else {
                    readiness.pass("outbox-limit")
                }
            } catch {
                log.warning("the outbox cannot be counted", error)
            }
            try? await Task.sleep(for: interval)
        }
    }
}
