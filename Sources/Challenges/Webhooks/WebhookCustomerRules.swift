public import ChallengeModel
import Crypto
import Wire

/// What the customer of a webhook may ask and do beside its subscription.
extension ChallengeStore {
    public func webhookEndpoint(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID
    ) async throws -> WebhookEndpoint? {
        try await engine.read { rows in
            guard try rows.service(service, account: account) != nil, try rows.webhook(sid, service: service) != nil
            else { return nil }
            return try rows.endpoint(sid) ?? WebhookEndpoint(sid: sid, account: account, service: service)
        }
    }

    /// A new secret. The former one signs beside it until `keepFormerMs` have passed.
    /// - Returns: 32 random bytes.
    /// - Throws: `notFound(.webhook)`.
    public func rotateWebhookSecret(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, keepFormerMs: Int64, nowMs: Int64
    ) async throws -> [UInt8] {
        try await write(nowMs) { decision in
            var endpoint = try decision.rows.locked(
                decision.requireEndpoint(sid, account: account, service: service))
            let secret = decision.draws.bytes(32)
            if let present = endpoint.secret {
                // Bound to its place: opened there and sealed here.
                let (account, sid) = (account.rawValue, sid.rawValue)
                let bytes = try decision.rules.open(
                    present, SealedPlace.webhookSecrets.context(account: account, sid: sid))
                endpoint.formerSecret = try decision.rules.seal(
                    bytes, SealedPlace.formerWebhookSecrets.context(account: account, sid: sid))
                endpoint.formerUntilMs = nowMs + max(0, keepFormerMs)
            }
            let sealed = try decision.rules.seal(
                secret, SealedPlace.webhookSecrets.context(account: account.rawValue, sid: sid.rawValue))
            try decision.noteSealing(sealed)
            endpoint.secret = sealed
            try decision.rows.put(endpoint)
            try decision.audit("webhook.secret_rotated", account: account, subject: sid.rawValue)
            return secret
        }
    }

    /// - Throws: `notFound(.webhook)`.
    public func webhookAttempts(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, page: PageRequest
    ) async throws -> Page<WebhookAttempt> {
        try await read(0) { decision in
            _ = try decision.requireEndpoint(sid, account: account, service: service)
            return try decision.rows.attempts(webhook: sid, page: page)
        }
    }

    /// Events that are not delivered yet, or were given up.
    /// - Throws: `notFound(.webhook)`.
    public func webhookDeliveries(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, state: WebhookDelivery.State?, page: PageRequest
    ) async throws -> Page<WebhookDelivery> {
        try await read(0) { decision in
            _ = try decision.requireEndpoint(sid, account: account, service: service)
            return try decision.rows.deliveries(webhook: sid, state: state, page: page)
        }
    }

    /// What a replay sends again, the same way as at first: one event, or all that were given up since a time.
    public enum ReplayScope: Sendable, Hashable {
        case event(String)
        /// Epoch milliseconds.
        case since(Int64)
    }

    /// Events of one replay at most; call it again for more.
    public static let replayLimit = 1000

    /// - Returns: how many events wait for their delivery now.
    /// - Throws: `notFound(.webhook)`.
    public func replayWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, _ scope: ReplayScope, nowMs: Int64
    ) async throws -> Int {
        try await write(nowMs) { decision in
            _ = try decision.rows.locked(decision.requireEndpoint(sid, account: account, service: service))
            let some: [WebhookDelivery]
            switch scope {
            case .event(let id): some = try decision.rows.delivery(event: id, webhook: sid).map { [$0] } ?? []
            case .since(let sinceMs):
                some = try decision.rows.endedDeliveries(webhook: sid, sinceMs: sinceMs, limit: Self.replayLimit)
            }
            for var delivery in some {
                // One that waits is brought forward when it is the first of its lane.
                if delivery.state != .waiting {
                    delivery.state = .waiting
                    delivery.failures = 0
                    delivery.dueMs =
                        try decision.rows.hasWaiting(webhook: sid, subject: delivery.subject) ? nil : nowMs
                } else if delivery.dueMs != nil {
                    delivery.dueMs = nowMs
                }
                try decision.rows.update(delivery, endedMs: nil)
            }
            try decision.audit(
                "webhook.replayed", account: account, subject: sid.rawValue,
                details: [("events", .integer(Int64(some.count)))])
            return some.count
        }
    }

    /// Emits an event of type `webhook.test` for this webhook alone. It takes the way of every other event.
    /// - Returns: the event's id.
    /// - Throws: `notFound(.webhook)`.
    public func testWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, nowMs: Int64
    ) async throws -> String {
        try await write(nowMs) { decision in
            _ = try decision.requireEndpoint(sid, account: account, service: service)
            let id = "\(sid)/\(EventType.webhookTest.rawValue)/\(nowMs)"
            try decision.audit("webhook.tested", account: account, subject: sid.rawValue)
            try decision.emit(
                .webhookTest, account: account, service: service.rawValue, subject: sid.rawValue, id: id,
                data: [
                    "account_sid": .string(account.rawValue), "service_sid": .string(service.rawValue),
                    "webhook_sid": .string(sid.rawValue),
                ])
            return id
        }
    }
}

extension Decision {
    /// What follows beside the subscription when its customer creates or changes it: the format, and the end of a state
    /// in which Beckon had disabled it. Stored events stay `held` until a replay.
    func applyToEndpoint(_ webhook: Webhook, format: WebhookFormat?, isEnabling: Bool) throws {
        let known = try rows.endpoint(webhook.sid)
        var endpoint =
            known ?? WebhookEndpoint(sid: webhook.sid, account: webhook.account, service: webhook.service)
        if let format { endpoint.format = format }
        if isEnabling, endpoint.health.disabledMs != nil { endpoint.health.enable() }
        if endpoint != known, endpoint.format != .form || known != nil { try rows.put(endpoint) }
    }

    fileprivate func requireEndpoint(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID
    ) throws -> WebhookEndpoint {
        guard try rows.service(service, account: account) != nil, try rows.webhook(sid, service: service) != nil else {
            throw StoreError.notFound(.webhook)
        }
        return try rows.endpoint(sid) ?? WebhookEndpoint(sid: sid, account: account, service: service)
    }
}
