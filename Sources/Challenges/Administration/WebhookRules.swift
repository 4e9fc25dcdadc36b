public import ChallengeModel

/// Subscriptions of a service to its events. The Producer keeps them; posting events is the relay's.
extension ChallengeStore {
    /// - Throws: `notFound(.service)`, `limit(.webhooks)` when the service has 100.
    public func createWebhook(_ new: NewWebhook, nowMs: Int64) async throws -> Webhook {
        let webhook = Webhook(
            sid: .generate(nowMs: nowMs), account: new.account, service: new.service, friendlyName: new.friendlyName,
            eventTypes: new.eventTypes, url: new.url, isEnabled: new.isEnabled, version: new.version,
            createdAtMs: nowMs, updatedAtMs: nowMs)
        try await write(nowMs) { decision in
            try decision.rows.lock(new.account)
            try decision.requireService(new.service, account: new.account)
            guard try decision.rows.countWebhooks(service: new.service) < StorePolicy.webhooksPerService else {
                throw StoreError.limit(.webhooks)
            }
            try decision.rows.insert(webhook)
            try decision.applyToEndpoint(webhook, format: new.format, isEnabling: false)
            if new.needsConsent { try decision.setConsent(of: webhook, isNeeded: true) }
            try decision.audit("webhook.created", account: webhook.account, subject: webhook.sid.rawValue)
        }
        return webhook
    }

    public func webhook(_ sid: WebhookSID, account: AccountSID, service: ServiceSID) async throws -> Webhook? {
        try await read(0) { try $0.webhook(sid, account: account, service: service) }
    }

    public func webhooks(account: AccountSID, service: ServiceSID, page: PageRequest) async throws -> Page<Webhook> {
        try await engine.read { rows in
            guard try rows.service(service, account: account) != nil else { return Page(items: [], next: nil) }
            return try rows.webhooks(service: service, page: page)
        }
    }

    /// - Throws: `notFound(.webhook)`.
    public func updateWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, _ change: WebhookChange, nowMs: Int64
    ) async throws -> Webhook {
        try await write(nowMs) { decision in
            try decision.rows.lock(account)
            guard let former = try decision.webhook(sid, account: account, service: service) else {
                throw StoreError.notFound(.webhook)
            }
            var webhook = former
            webhook.friendlyName = change.friendlyName ?? webhook.friendlyName
            webhook.eventTypes = change.eventTypes ?? webhook.eventTypes
            webhook.url = change.url ?? webhook.url
            webhook.isEnabled = change.isEnabled ?? webhook.isEnabled
            webhook.version = change.version ?? webhook.version
            webhook.updatedAtMs = nowMs
            try decision.rows.update(webhook)
            try decision.applyToEndpoint(webhook, format: change.format, isEnabling: change.isEnabled == true)
            if let isNeeded = change.needsConsent { try decision.setConsent(of: webhook, isNeeded: isNeeded) }
            try decision.audit(
                "webhook.updated", account: account, subject: sid.rawValue,
                details: SettingChanges(from: former, to: webhook).members)
            return webhook
        }
    }

    public func deleteWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, nowMs: Int64
    ) async throws -> Bool {
        try await write(nowMs) { decision in
            guard try decision.webhook(sid, account: account, service: service) != nil else { return false }
            try decision.rows.deleteWebhook(sid)
            // With its secrets. The relay takes its stored events away.
            try decision.rows.deleteEndpoint(sid)
            if try decision.rows.keepsAlerts() { try decision.rows.deleteConsent(sid) }
            try decision.audit("webhook.deleted", account: account, subject: sid.rawValue)
            return true
        }
    }
}

extension Decision {
    fileprivate func setConsent(of webhook: Webhook, isNeeded: Bool) throws {
        if isNeeded {
            try requireAlerts()
            try rows.insertConsent(webhook.sid, account: webhook.account, service: webhook.service)
        } else if try rows.keepsAlerts() {
            try rows.deleteConsent(webhook.sid)
        }
    }

    fileprivate func webhook(_ sid: WebhookSID, account: AccountSID, service: ServiceSID) throws -> Webhook? {
        // The rows of a deleted service exist for a moment longer.
        guard try rows.service(service, account: account) != nil else { return nil }
        return try rows.webhook(sid, service: service)
    }
}
