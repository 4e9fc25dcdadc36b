import ChallengeModel
import Challenges
import Foundation

/// The verbs of ``ServiceRows``.
extension SQLTransaction {
    func insert(_ service: Service) throws {
        try connection.run(
            "INSERT INTO services (\(Service.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                service.sid.rawValue, service.account.rawValue, service.friendlyName, service.includeDate,
                service.apnCredential?.rawValue, service.fcmCredential?.rawValue, service.settings,
                service.createdAtMs, service.updatedAtMs, service.hmsCredential?.rawValue,
                service.webPushCredential?.rawValue, try service.policy.stored,
            ])
    }

    func service(_ sid: ServiceSID, account: AccountSID) throws -> Service? {
        try connection.row(
            "SELECT \(Service.columns) FROM services WHERE sid = ? AND account_sid = ? AND deleted = 0",
            [sid.rawValue, account.rawValue]
        ).map(Service.init(row:))
    }

    func serviceOrDeleted(_ sid: ServiceSID) throws -> Service? {
        try connection.row("SELECT \(Service.columns) FROM services WHERE sid = ?", [sid.rawValue])
            .map(Service.init(row:))
    }

    func services(account: AccountSID, page request: PageRequest) throws -> Page<Service> {
        let rows = try connection.rows(
            """
            SELECT \(Service.columns) FROM services WHERE account_sid = ? AND deleted = 0 AND sid > ? \
            ORDER BY sid LIMIT ?
            """, [account.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, Service.init(row:))
    }

    func update(_ service: Service) throws {
        try connection.run(
            """
            UPDATE services SET friendly_name = ?, include_date = ?, apn_credential_sid = ?, fcm_credential_sid = ?, \
            hms_credential_sid = ?, webpush_credential_sid = ?, settings = ?, policy = ?, updated_ms = ? WHERE sid = ?
            """,
            [
                service.friendlyName, service.includeDate, service.apnCredential?.rawValue,
                service.fcmCredential?.rawValue, service.hmsCredential?.rawValue, service.webPushCredential?.rawValue,
                service.settings, try service.policy.stored, service.updatedAtMs, service.sid.rawValue,
            ])
    }

    func markDeleted(_ sid: ServiceSID, account: AccountSID) throws -> Bool {
        try connection.hasChanged(
            "UPDATE services SET deleted = 1 WHERE sid = ? AND account_sid = ? AND deleted = 0",
            [sid.rawValue, account.rawValue])
    }

    func deletedService() throws -> ServiceSID? {
        try connection.texts("SELECT sid FROM services WHERE deleted = 1 LIMIT 1").first.flatMap { ServiceSID($0) }
    }

    func delete(_ service: ServiceSID) throws {
        try connection.run("DELETE FROM webhooks WHERE service_sid = ?", [service.rawValue])
        try connection.run("DELETE FROM webhook_endpoints WHERE service_sid = ?", [service.rawValue])
        if try keepsAlerts() {
            try connection.run("DELETE FROM webhook_consents WHERE service_sid = ?", [service.rawValue])
        }
        try connection.run("DELETE FROM services WHERE sid = ?", [service.rawValue])
    }
}

extension Service {
    fileprivate static let columns = """
        sid, account_sid, friendly_name, include_date, apn_credential_sid, fcm_credential_sid, settings, created_ms, \
        updated_ms, hms_credential_sid, webpush_credential_sid, policy
        """

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), friendlyName: columns.text(),
            includeDate: columns.flag(), apnCredential: try columns.optionalSID(),
            fcmCredential: try columns.optionalSID(), settings: columns.text(), createdAtMs: columns.int64(),
            updatedAtMs: columns.int64(), hmsCredential: try columns.optionalSID(),
            webPushCredential: try columns.optionalSID(), policy: try ServicePolicy(stored: columns.optionalText()))
    }
}

/// The verbs of ``WebhookRows``.
extension SQLTransaction {
    func insert(_ webhook: Webhook) throws {
        try connection.run(
            "INSERT INTO webhooks (\(Webhook.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                webhook.sid.rawValue, webhook.account.rawValue, webhook.service.rawValue, webhook.friendlyName,
                try webhook.eventTypesText, webhook.url, webhook.isEnabled, webhook.version, webhook.createdAtMs,
                webhook.updatedAtMs,
            ])
    }

    func webhook(_ sid: WebhookSID, service: ServiceSID) throws -> Webhook? {
        try connection.row(
            "SELECT \(Webhook.columns) FROM webhooks WHERE sid = ? AND service_sid = ?",
            [sid.rawValue, service.rawValue]
        ).map(Webhook.init(row:))
    }

    func webhooks(service: ServiceSID, page request: PageRequest) throws -> Page<Webhook> {
        let rows = try connection.rows(
            "SELECT \(Webhook.columns) FROM webhooks WHERE service_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
            [service.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, Webhook.init(row:))
    }

    func countWebhooks(service: ServiceSID) throws -> Int {
        Int(try connection.integer("SELECT count(*) FROM webhooks WHERE service_sid = ?", [service.rawValue]))
    }

    func update(_ webhook: Webhook) throws {
        try connection.run(
            """
            UPDATE webhooks SET friendly_name = ?, event_types = ?, url = ?, enabled = ?, version = ?, updated_ms = ? \
            WHERE sid = ?
            """,
            [
                webhook.friendlyName, try webhook.eventTypesText, webhook.url, webhook.isEnabled, webhook.version,
                webhook.updatedAtMs, webhook.sid.rawValue,
            ])
    }

    func deleteWebhook(_ sid: WebhookSID) throws {
        try connection.run("DELETE FROM webhooks WHERE sid = ?", [sid.rawValue])
    }
}

extension Webhook {
    fileprivate static let columns =
        "sid, account_sid, service_sid, friendly_name, event_types, url, enabled, version, created_ms, updated_ms"

    fileprivate init(row: some SQLRow) throws {
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
