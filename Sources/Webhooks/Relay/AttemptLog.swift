import Challenges
import Logging
import Synchronization

/// Writes attempts to the store in batches, beside the deliveries, which do not wait for it. When the store is slower
/// than the deliveries, attempts are left out and counted.
final class AttemptLog: Sendable {
    private static let most = 20_000
    private static let batch = 1000

    private let store: ChallengeStore
    private let metrics: WebhookMetrics
    private let nowMs: @Sendable () -> Int64
    private let waiting = Mutex<[WebhookAttempt]>([])

    init(store: ChallengeStore, metrics: WebhookMetrics, nowMs: @escaping @Sendable () -> Int64) {
        self.store = store
        self.metrics = metrics
        self.nowMs = nowMs
    }

    func note(_ attempt: WebhookAttempt) {
        let isKept = waiting.withLock { waiting in
            guard waiting.count < Self.most else { return false }
            waiting.append(attempt)
            return true
        }
        if !isKept { metrics.unrecorded(1) }
    }

    /// Writes every half second until cancelled, then once more.
    func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(500))
            await flush()
        }
    }

    func flush() async {
        while true {
            let batch = waiting.withLock { waiting in
                let batch = Array(waiting.prefix(Self.batch))
                waiting.removeFirst(batch.count)
                return batch
            }
            guard !batch.isEmpty else { return }
            do {
                try await store.recordAttempts(batch, nowMs: nowMs())
            } catch {
                metrics.unrecorded(batch.count)
                return
            }
        }
    }
}
