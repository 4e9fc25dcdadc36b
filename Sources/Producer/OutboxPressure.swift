import Challenges
import Logging
import ServiceSupport
import Synchronization

/// Watches whether the outbox has more rows than allowed. Creations are then refused until it has drained. The number
/// is sampled, so that a creation does not read the store. Between two samples the outbox can exceed its limit by the
/// creations of that time.
final class OutboxPressure: Sendable {
    private let over = Atomic(false)
    private let half = Atomic(false)

    var isOver: Bool { over.load(ordering: .relaxed) }

    /// True when the outbox is more than half full. Work that can wait then waits, so that it does not cause refused
    /// creations.
    var isHalfFull: Bool { half.load(ordering: .relaxed) }

    /// - Returns: whether the state changed.
    @discardableResult
    func update(rows: Int, limit: Int) -> Bool {
        let isOver = rows > limit
        half.store(rows > limit / 2, ordering: .relaxed)
        return over.exchange(isOver, ordering: .relaxed) != isOver
    }

    /// Samples until cancelled. It also updates the count of the store's commits.
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
