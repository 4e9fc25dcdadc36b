import ChallengeModel
public import Challenges
public import Logging
public import Metrics
public import Wire

/// Writes the expiry of challenges that nobody answered: reads compute it, the sweep makes it known, with its
/// `Resolution` and event. It also deletes what is old, and makes and drops the days of a store that keeps challenges
/// by days. None of the three waits for another that fails.
public struct ExpirySweep: Sendable {
    private let store: ChallengeStore
    private let log: StoreLog
    private let interval: Duration
    private let limit: Int
    private let isHeld: @Sendable () -> Bool
    private let nowMs: @Sendable () -> Int64
    private let expired: Counter
    private let failures: Counter

    /// - Parameters:
    ///   - interval: between two rounds. Default 500 ms.
    ///   - limit: challenges expired in one transaction. Default 500.
    ///   - isHeld: true: not now. A Producer that comes back after an outage has everything to expire that was pending,
    ///     two outbox rows each, and must not refuse creations for it. Readers compute the expiry meanwhile.
    ///   - nowMs: epoch milliseconds.
    public init(
        store: ChallengeStore, logger: Logger, metrics: any MetricsFactory, interval: Duration = .milliseconds(500),
        limit: Int = 500, isHeld: @escaping @Sendable () -> Bool = { false },
        nowMs: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) {
        self.store = store
        log = StoreLog(logger)
        self.interval = interval
        self.limit = limit
        self.isHeld = isHeld
        self.nowMs = nowMs
        expired = Counter(label: OutboxMetric.challengesExpired.rawValue, factory: metrics)
        failures = Counter(label: OutboxMetric.sweepFailures.rawValue, factory: metrics)
    }

    /// Sweeps until the task is cancelled; a round under way is finished. A failing store is asked again, up to 30 s
    /// later.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                await rounds(every: interval, "the expiry sweep failed") {
                    while !Task.isCancelled, !isHeld() {
                        let count = try await store.expireDue(limit: limit, nowMs: nowMs())
                        expired.increment(by: count)
                        if count < limit { break }
                    }
                }
            }
            group.addTask {
                await rounds(every: interval, "old rows could not be deleted") {
                    if !isHeld() { try await store.keepHouse(limit: limit, nowMs: nowMs()) }
                }
            }
            group.addTask {
                await rounds(every: Self.daysInterval, "the days of the store could not be turned") {
                    try await store.turnDays(nowMs: nowMs())
                }
            }
        }
    }

    /// A day that cannot be dropped yet is looked at again after this.
    private static let daysInterval = Duration.seconds(10)

    private func rounds(
        every interval: Duration, _ failure: StaticString, _ round: () async throws -> Void
    ) async {
        var backoff = Backoff(first: interval * 2, most: .seconds(30))
        while !Task.isCancelled {
            do {
                try await round()
                backoff.succeeded()
                try? await Task.sleep(for: interval)
            } catch {
                failures.increment()
                log.error(failure, error)
                _ = await backoff.wait()
            }
        }
    }
}
