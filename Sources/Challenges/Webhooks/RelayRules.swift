public import ChallengeModel
import Wire

/// What a failed attempt says about its webhook.
public struct WebhookFailure: Sendable, Hashable {
    public var status: Int
    public var code: Int
    public var reason: String
    /// The receiver has asked to be disabled.
    public var isDisabling: Bool
    /// A fault of our own network or bounds: it counts neither against the webhook nor as one of the event's tries.
    public var isOurs: Bool
    /// The first characters of the answer's body.
    public var body = ""

    /// The reason of an attempt that was not made because the address may not be connected to.
    public static let refused = "refused"

    public init(
        status: Int, code: Int, reason: String, isDisabling: Bool = false, isOurs: Bool = false, body: String = ""
    ) {
        self.status = status
        self.code = code
        self.reason = reason
        self.isDisabling = isDisabling
        self.isOurs = isOurs
        self.body = body
    }
}

/// What becomes of a stored delivery after an attempt.
public enum WebhookFate: Sendable, Hashable {
    case delivered
    /// - Parameter dueMs: the next attempt; nil: it is given up.
    case failed(WebhookFailure, dueMs: Int64?)
    case aborted(WebhookFailure)
}

/// The store as the webhook relay uses it.
extension ChallengeStore {
    /// Events of one webhook in state `waiting`; further ones are given up at once.
    public static let waitingPerWebhook = 100_000

    /// The webhooks of a service with what signs their requests; none when the service is gone. The account's debugger
    /// webhook is the last one, and wants no events.
    public func webhookRoutes(account: AccountSID, service: ServiceSID, nowMs: Int64) async throws -> [WebhookRoute] {
        try await read(nowMs) { decision in
            let rows = decision.rows
            guard let tokens = try rows.authTokens(of: account) else { return [] }
            let isThere = try rows.service(service, account: account) != nil
            let webhooks = isThere ? try rows.webhooks(service: service, page: PageRequest(size: 1000)).items : []
            let keepsAlerts = try rows.keepsAlerts()
            let debugger = keepsAlerts ? try rows.debugger(account) : nil
            guard !webhooks.isEmpty || debugger != nil else { return [] }
            let endpoints = Dictionary(uniqueKeysWithValues: try rows.endpoints(service: service).map { ($0.sid, $0) })
            let consents = keepsAlerts && !webhooks.isEmpty ? try rows.consents(service: service) : []
            let authToken = String(
                decoding: try decision.rules.open(tokens.present, StoreRules.authTokenContext(account)), as: UTF8.self)
            var routes = try webhooks.map { webhook in
                let endpoint = endpoints[webhook.sid]
                return WebhookRoute(
                    webhook: webhook, format: endpoint?.format ?? .form, health: endpoint?.health ?? WebhookHealth(),
                    authToken: authToken, secrets: try endpoint.map(decision.openedSecrets) ?? [],
                    needsConsent: consents.contains(webhook.sid))
            }
            if let debugger {
                routes.append(
                    WebhookRoute(
                        webhook: Webhook(
                            sid: debugger.sid, account: account, service: service, friendlyName: "debugger",
                            // No event goes to it.
                            eventTypes: [], url: debugger.url, isEnabled: true, version: "v2",
                            createdAtMs: debugger.createdAtMs, updatedAtMs: debugger.updatedAtMs),
                        format: .form, health: WebhookHealth(), authToken: authToken, secrets: []))
            }
            return routes
        }
    }

    public func webhookBacklogs() async throws -> [WebhookBacklog] { try await engine.read { try $0.backlogs() } }

    public func dueWebhookDeliveries(
        partition: Int32, webhook: WebhookSID, nowMs: Int64, limit: Int
    ) async throws -> [WebhookDelivery] {
        try await engine.read {
            try $0.dueDeliveries(partition: partition, webhook: webhook, untilMs: nowMs, limit: limit)
        }
    }

    /// Whether older events of the lane are stored, so that a new one has to go behind them.
    public func hasWaitingDeliveries(webhook: WebhookSID, subject: String) async throws -> Bool {
        try await engine.read { try $0.hasWaiting(webhook: webhook, subject: subject) }
    }

    /// Stores events of one lane, in their order, behind those that are stored already. Idempotent: an event that is
    /// stored for its webhook is not stored again.
    /// - Parameters:
    ///   - failure: of the first event, when it was tried.
    ///   - dueMs: when the first of the lane is tried next.
    public func storeDeliveries(
        _ deliveries: [WebhookDelivery], failure: WebhookFailure?, dueMs: Int64, nowMs: Int64
    ) async throws {
        try await write(nowMs) { decision in
            for (index, delivery) in deliveries.enumerated() {
                try decision.store(delivery, failure: index == 0 ? failure : nil, dueMs: dueMs)
            }
        }
    }

    /// A fresh event was refused for good by its receiver: it is kept for a replay, and not tried again.
    public func storeAborted(
        _ delivery: WebhookDelivery, _ failure: WebhookFailure, nowMs: Int64
    ) async throws {
        try await write(nowMs) { decision in
            var delivery = delivery
            delivery.note(failure)
            delivery.state = .aborted
            _ = try decision.rows.insert(delivery)
            try decision.noteFailure(failure, of: delivery)
        }
    }

    /// Ends an attempt of a stored delivery. Nothing follows when the delivery is not waiting any more.
    public func end(_ delivery: WebhookDelivery, _ fate: WebhookFate, nowMs: Int64) async throws {
        try await write(nowMs) { decision in
            try decision.lock(delivery)
            guard var stored = try decision.rows.delivery(delivery.id), stored.state == .waiting else { return }
            switch fate {
            case .delivered:
                try decision.rows.deleteDelivery(stored.id)
                try decision.rows.promote(webhook: stored.webhook, subject: stored.subject, dueMs: nowMs)
                try decision.change(stored) { $0.succeed(nowMs: nowMs) }
            case .failed(let failure, let dueMs?):
                stored.note(failure)
                if !failure.isOurs { stored.failures += 1 }
                if stored.failures == 1 { stored.firstFailureMs = nowMs }
                stored.dueMs = dueMs
                try decision.rows.update(stored, endedMs: nil)
                try decision.noteFailure(failure, of: stored)
            case .failed(let failure, nil): try decision.end(&stored, failure, as: .exhausted)
            case .aborted(let failure): try decision.end(&stored, failure, as: .aborted)
            }
        }
    }

    /// A fresh event was delivered while its webhook was known to be failing.
    public func noteWebhookSuccess(
        _ webhook: WebhookSID, account: AccountSID, service: ServiceSID, nowMs: Int64
    ) async throws {
        try await write(nowMs) { decision in
            guard let endpoint = try decision.rows.endpoint(webhook), endpoint.health.failingSinceMs != nil else {
                return
            }
            try decision.change(webhook, account: account, service: service) { $0.succeed(nowMs: nowMs) }
        }
    }

    /// The endpoint answers again: what is stored for it is due now.
    public func bringForwardDeliveries(partition: Int32, webhook: WebhookSID, nowMs: Int64) async throws {
        try await write(nowMs) { try $0.rows.bringForward(partition: partition, webhook: webhook, nowMs: nowMs) }
    }

    /// For a delivery whose webhook is not served, as far as the relay knows. The store decides, because what a relay
    /// knows may be seconds old: the delivery is deleted when its webhook is gone, kept as `held` when the webhook is
    /// disabled, and left as it is when the webhook is served.
    public func setAside(_ delivery: WebhookDelivery, nowMs: Int64) async throws {
        try await write(nowMs) { decision in
            guard try decision.isServed(delivery) != nil else { return try decision.removeGone(delivery, nowMs: nowMs) }
            try decision.lock(delivery)
            // Once more: it may have been deleted, disabled or enabled before the lock.
            guard let isServed = try decision.isServed(delivery) else {
                return try decision.removeGone(delivery, nowMs: nowMs)
            }
            guard !isServed, var stored = try decision.rows.delivery(delivery.id), stored.state == .waiting else {
                return
            }
            stored.state = .held
            stored.dueMs = nil
            try decision.rows.update(stored, endedMs: nowMs)
            try decision.rows.promote(webhook: stored.webhook, subject: stored.subject, dueMs: nowMs)
        }
    }

    public func recordAttempts(_ attempts: [WebhookAttempt], nowMs: Int64) async throws {
        try await write(nowMs) { decision in for attempt in attempts { try decision.rows.insert(attempt) } }
    }

    /// Deletes what is older than its time: attempts after 3 days, ended deliveries after 7.
    public func sweepWebhooks(nowMs: Int64, limit: Int = 1000) async throws {
        try await write(nowMs) { decision in
            try decision.rows.deleteAttempts(untilMs: nowMs - 3 * StorePolicy.dayMs, limit: limit)
            try decision.rows.deleteEndedDeliveries(untilMs: nowMs - 7 * StorePolicy.dayMs, limit: limit)
        }
    }
}

extension Decision {
    /// Whether the webhook of a delivery is enabled; nil: it is gone, or its service is.
    fileprivate func isServed(_ delivery: WebhookDelivery) throws -> Bool? {
        if try rows.keepsAlerts(), try rows.debugger(delivery.account)?.sid == delivery.webhook { return true }
        guard try rows.service(delivery.service, account: delivery.account) != nil,
            let webhook = try rows.webhook(delivery.webhook, service: delivery.service)
        else { return nil }
        return try webhook.isEnabled && rows.endpoint(delivery.webhook)?.health.disabledMs == nil
    }

    fileprivate func removeGone(_ delivery: WebhookDelivery, nowMs: Int64) throws {
        guard let stored = try rows.delivery(delivery.id), stored.state == .waiting else { return }
        try rows.deleteDelivery(stored.id)
        try rows.promote(webhook: stored.webhook, subject: stored.subject, dueMs: nowMs)
    }

    /// The end of one delivery promotes the next of its lane, and a new one looks for older ones: never at the same
    /// time.
    @discardableResult
    fileprivate func lock(_ delivery: WebhookDelivery) throws -> WebhookEndpoint {
        try rows.locked(
            WebhookEndpoint(sid: delivery.webhook, account: delivery.account, service: delivery.service))
    }

    fileprivate func store(_ delivery: WebhookDelivery, failure: WebhookFailure?, dueMs: Int64) throws {
        var delivery = delivery
        let endpoint = try lock(delivery)
        if endpoint.health.disabledMs != nil {
            delivery.state = .held
        } else if try rows.countWaiting(webhook: delivery.webhook, most: ChallengeStore.waitingPerWebhook)
            >= ChallengeStore.waitingPerWebhook
        {
            delivery.state = .exhausted
            delivery.reason = "too-many-waiting"
        } else if try !rows.hasWaiting(webhook: delivery.webhook, subject: delivery.subject) {
            delivery.dueMs = dueMs
        }
        if let failure {
            delivery.note(failure)
            if !failure.isOurs { delivery.failures = 1 }
        }
        guard try rows.insert(delivery) else { return }
        if let failure { try noteFailure(failure, of: delivery) }
        if delivery.state == .exhausted { try noteExhausted(delivery) }
    }

    fileprivate func noteFailure(_ failure: WebhookFailure, of delivery: WebhookDelivery) throws {
        guard !failure.isOurs else { return }
        if !delivery.isAboutWebhooks { try change(delivery) { $0.fail(failure, nowMs: nowMs) } }
        try alert(about: failure, of: delivery)
    }

    private func noteExhausted(_ delivery: WebhookDelivery) throws {
        guard !delivery.isAboutWebhooks else { return }
        try change(delivery) { $0.exhaust(nowMs: nowMs) }
    }

    fileprivate func end(
        _ delivery: inout WebhookDelivery, _ failure: WebhookFailure, as state: WebhookDelivery.State
    ) throws {
        delivery.note(failure)
        delivery.failures += 1
        delivery.state = state
        delivery.dueMs = nil
        try rows.update(delivery, endedMs: nowMs)
        try rows.promote(webhook: delivery.webhook, subject: delivery.subject, dueMs: nowMs)
        try noteFailure(failure, of: delivery)
        if state == .exhausted { try noteExhausted(delivery) }
    }

    fileprivate func change(
        _ delivery: WebhookDelivery, _ body: (inout WebhookHealth) -> [WebhookHealth.News]
    ) throws {
        try change(delivery.webhook, account: delivery.account, service: delivery.service, body)
    }

    /// Changes a webhook's health, and emits what follows in the same transaction.
    func change(
        _ webhook: WebhookSID, account: AccountSID, service: ServiceSID,
        _ body: (inout WebhookHealth) -> [WebhookHealth.News]
    ) throws {
        // Deleted meanwhile: nobody asks about its health.
        guard let row = try rows.webhook(webhook, service: service) else { return }
        var endpoint = try rows.locked(WebhookEndpoint(sid: webhook, account: account, service: service))
        let former = endpoint.health
        let news = body(&endpoint.health)
        guard endpoint.health != former else { return }
        try rows.put(endpoint)
        for item in news { try emit(item, row, endpoint.health) }
    }

    private func emit(_ news: WebhookHealth.News, _ webhook: Webhook, _ health: WebhookHealth) throws {
        let type: EventType
        var data: [String: EventValue] = [
            "account_sid": .string(webhook.account.rawValue), "service_sid": .string(webhook.service.rawValue),
            "webhook_sid": .string(webhook.sid.rawValue), "url": .string(webhook.shownURL),
        ]
        if health.lastCode != 0 {
            data["error_code"] = .string(String(health.lastCode))
            data["reason"] = .string(health.lastReason)
            data["status"] = .integer(Int64(health.lastStatus))
        }
        switch news {
        case .failing(let isWarning):
            type = .webhookFailing
            let sinceMs = health.failingSinceMs ?? nowMs
            data["failing_since"] = .string(Timestamp.rfc3339Seconds(sinceMs))
            data["disabled_at"] = .string(Timestamp.rfc3339Seconds(sinceMs + WebhookHealth.disableAfterMs))
            data["failures"] = .integer(Int64(health.failures))
            data["warning"] = .boolean(isWarning)
        case .recovered: type = .webhookRecovered
        case .exhausted(let count):
            type = .webhookExhausted
            data["events"] = .integer(Int64(count))
        case .disabled:
            type = .webhookDisabled
            let reason = health.disabledReason ?? "failing"
            data["disabled_reason"] = .string(reason)
            try audit(
                type.rawValue, account: webhook.account, subject: webhook.sid.rawValue,
                details: [("disabled_reason", .string(reason))])
        }
        try emit(
            type, account: webhook.account, service: webhook.service.rawValue, subject: webhook.sid.rawValue,
            id: "\(webhook.sid)/\(type.rawValue)/\(nowMs)", data: data)
        switch news {
        case .exhausted: try alert(about: webhook, isDisabled: false, health)
        case .disabled: try alert(about: webhook, isDisabled: true, health)
        // The failed attempts have alerts.
        case .failing, .recovered: break
        }
    }

    func openedSecrets(_ endpoint: WebhookEndpoint) throws -> [[UInt8]] {
        var secrets: [[UInt8]] = []
        let (account, sid) = (endpoint.account.rawValue, endpoint.sid.rawValue)
        if let secret = endpoint.secret {
            secrets.append(try rules.open(secret, SealedPlace.webhookSecrets.context(account: account, sid: sid)))
        }
        if let former = endpoint.formerSecret, endpoint.formerUntilMs > nowMs {
            secrets.append(try rules.open(former, SealedPlace.formerWebhookSecrets.context(account: account, sid: sid)))
        }
        return secrets
    }
}

extension WebhookDelivery {
    /// Events about webhooks never raise further ones: two webhooks that fail would tell each other for ever.
    var isAboutWebhooks: Bool { eventType.hasPrefix("webhook.") }

    fileprivate mutating func note(_ failure: WebhookFailure) {
        (status, code, reason) = (failure.status, failure.code, failure.reason)
    }
}

extension WebhookHealth {
    fileprivate mutating func fail(_ failure: WebhookFailure, nowMs: Int64) -> [News] {
        fail(
            status: failure.status, code: failure.code, reason: failure.reason, isDisabling: failure.isDisabling,
            nowMs: nowMs)
    }
}
