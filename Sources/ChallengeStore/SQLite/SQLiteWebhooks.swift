public import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func createWebhook(_ new: NewWebhook, nowMs: Int64) async throws -> Webhook {
        let webhook = Webhook(
            sid: .generate(nowMs: nowMs), account: new.account, service: new.service, friendlyName: new.friendlyName,
            eventTypes: new.eventTypes, url: new.url, isEnabled: new.isEnabled, version: new.version,
            createdAtMs: nowMs,
            updatedAtMs: nowMs)
        try await write { database in
            try database.requireService(new.service, account: new.account)
            let count = try database.integer(
                "SELECT count(*) FROM webhooks WHERE service_sid = ?", [new.service.rawValue])
            guard count < StorePolicy.webhooksPerService else { throw StoreError.limit(.webhooks) }
            try database.run(
                "INSERT INTO webhooks (\(Webhook.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    webhook.sid.rawValue, webhook.account.rawValue, webhook.service.rawValue, webhook.friendlyName,
                    try webhook.eventTypesText, webhook.url, webhook.isEnabled, webhook.version, nowMs, nowMs,
                ])
            try database.audit(
                "webhook.created", account: webhook.account, subject: webhook.sid.rawValue, nowMs: nowMs)
        }
        return webhook
    }

    public func webhook(_ sid: WebhookSID, account: AccountSID, service: ServiceSID) async throws -> Webhook? {
        try await read { try $0.webhook(sid, account: account, service: service) }
    }

    public func webhooks(
        account: AccountSID, service: ServiceSID, page request: PageRequest
    ) async throws -> Page<Webhook> {
        try await read { database in
            guard try database.service(service, account: account) != nil else { return Page(items: [], next: nil) }
            let rows = try database.rows(
                "SELECT \(Webhook.columns) FROM webhooks WHERE service_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
                [service.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, Webhook.init(row:))
        }
    }

    public func updateWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, _ change: WebhookChange, nowMs: Int64
    ) async throws -> Webhook {
        try await write { database in
            guard var webhook = try database.webhook(sid, account: account, service: service) else {
                throw StoreError.notFound(.webhook)
            }
            let former = webhook
            webhook.friendlyName = change.friendlyName ?? webhook.friendlyName
            webhook.eventTypes = change.eventTypes ?? webhook.eventTypes
            webhook.url = change.url ?? webhook.url
            webhook.isEnabled = change.isEnabled ?? webhook.isEnabled
            webhook.version = change.version ?? webhook.version
            webhook.updatedAtMs = nowMs
            try database.run(
                """
                UPDATE webhooks SET friendly_name = ?, event_types = ?, url = ?, enabled = ?, version = ?, updated_ms = ? \
                WHERE sid = ?
                """,
                [
                    webhook.friendlyName, try webhook.eventTypesText, webhook.url, webhook.isEnabled, webhook.version,
                    nowMs, sid.rawValue,
                ])
            try database.audit(
                "webhook.updated", account: account, subject: sid.rawValue,
                detail: SettingChanges(from: former, to: webhook).text, nowMs: nowMs)
            return webhook
        }
    }

    public func deleteWebhook(
        _ sid: WebhookSID, account: AccountSID, service: ServiceSID, nowMs: Int64
    ) async throws -> Bool {
        try await write { database in
            guard try database.webhook(sid, account: account, service: service) != nil else { return false }
            try database.audit("webhook.deleted", account: account, subject: sid.rawValue, nowMs: nowMs)
            return try database.changes("DELETE FROM webhooks WHERE sid = ?", [sid.rawValue])
        }
    }
}

extension Database {
    fileprivate func webhook(_ sid: WebhookSID, account: AccountSID, service: ServiceSID) throws -> Webhook? {
        // A service that is deleted still has its rows for a moment.
        guard try self.service(service, account: account) != nil else { return nil }
        return try row(
            "SELECT \(Webhook.columns) FROM webhooks WHERE sid = ? AND service_sid = ?",
            [sid.rawValue, service.rawValue]
        ).map(Webhook.init(row:))
    }
}

extension Webhook {
    fileprivate static let columns =
        "sid, account_sid, service_sid, friendly_name, event_types, url, enabled, version, created_ms, updated_ms"

    fileprivate init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(),
            friendlyName: columns.text(),
            eventTypes: try JSONDecoder().decode([String].self, from: Data(columns.text().utf8)), url: columns.text(),
            isEnabled: columns.flag(), version: columns.text(), createdAtMs: columns.int64(),
            updatedAtMs: columns.int64())
    }

    fileprivate var eventTypesText: String {
        get throws { String(decoding: try JSONEncoder().encode(eventTypes), as: UTF8.self) }
    }
}
