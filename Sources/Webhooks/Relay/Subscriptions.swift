import ChallengeModel
import Challenges
import Synchronization

/// The webhooks of services as the store has them, kept for a moment. Any number of relays read the same rows, so that
/// a change takes effect everywhere within ``kept``.
final class Subscriptions: Sendable {
    private struct Entry {
        var routes: [WebhookRoute]
        var until: ContinuousClock.Instant
    }

    private static let mostServices = 10_000

    private let store: ChallengeStore
    private let kept: Duration
    private let nowMs: @Sendable () -> Int64
    private let entries = Mutex<[ServiceSID: Entry]>([:])

    init(store: ChallengeStore, kept: Duration, nowMs: @escaping @Sendable () -> Int64) {
        self.store = store
        self.kept = kept
        self.nowMs = nowMs
    }

    /// - Throws: what the store throws. The caller tries again: without subscriptions nobody knows who wants an event.
    func routes(account: AccountSID, service: ServiceSID) async throws -> [WebhookRoute] {
        let known = entries.withLock { entries in entries[service].flatMap { $0.until > .now ? $0.routes : nil } }
        if let known { return known }
        let routes = try await store.webhookRoutes(account: account, service: service, nowMs: nowMs())
        entries.withLock { entries in
            if entries.count >= Self.mostServices { entries = [:] }
            entries[service] = Entry(routes: routes, until: .now + kept)
        }
        return routes
    }

    /// Nil: the webhook or its service is gone.
    func route(_ webhook: WebhookSID, account: AccountSID, service: ServiceSID) async throws -> WebhookRoute? {
        try await routes(account: account, service: service).first { $0.webhook.sid == webhook }
    }

    /// Something has changed: the next look reads the store.
    func forget(_ service: ServiceSID) { entries.withLock { $0[service] = nil } }
}
