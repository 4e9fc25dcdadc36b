import ChallengeModel
import Challenges
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

/// What the parts of one relay share.
struct RelayParts: Sendable {
    let store: ChallengeStore
    let subscriptions: Subscriptions
    let backlogs: Backlogs
    let sender: WebhookSender
    let stored: StoredDeliveries
    let intake: RecordIntake
    let deadLetters: DeadLetters
    /// Webhooks that have failed and not succeeded since, as far as this relay knows.
    let failing: FailingWebhooks
    let metrics: WebhookMetrics
    let log: LimitedLog

    /// Epoch milliseconds.
    func nowMs() -> Int64 { Timestamp.nowMs() }

    /// Repeats an operation of the store until it succeeds. What is delivered or stored next depends on it.
    /// - Returns: nil when the task was cancelled first.
    func insist<Value: Sendable>(_ operation: @Sendable () async throws -> Value) async -> Value? {
        var backoff = Backoff()
        while !Task.isCancelled {
            do { return try await operation() } catch {
                metrics.storeRetried()
                log.warning("the webhook relay waits for the store", metadata: ["error": "\(error)"])
            }
            guard await backoff.wait() else { return nil }
        }
        return nil
    }

    /// The store has noted a failure of a webhook.
    func noteFailure(_ event: FreshEvent) {
        failing.insert(event.delivery.webhook)
        subscriptions.forget(event.service)
    }

    /// Ends the webhook's failing in the store.
    /// - Returns: false when the task was cancelled.
    func noteSuccess(_ event: FreshEvent) async -> Bool {
        let webhook = event.delivery.webhook
        guard
            await insist({
                try await store.noteWebhookSuccess(
                    webhook, account: event.account, service: event.service, nowMs: nowMs())
            }) != nil
        else { return false }
        failing.remove(webhook)
        subscriptions.forget(event.service)
        return true
    }
}

/// A set that many tasks change.
final class FailingWebhooks: Sendable {
    private let webhooks = Mutex<Set<WebhookSID>>([])
    func contains(_ webhook: WebhookSID) -> Bool { webhooks.withLock { $0.contains(webhook) } }
    func insert(_ webhook: WebhookSID) { webhooks.withLock { _ = $0.insert(webhook) } }
    func remove(_ webhook: WebhookSID) { webhooks.withLock { _ = $0.remove(webhook) } }
}
