import ChallengeModel
import Challenges
import Foundation

/// The verbs of ``AlertRows``, but for ``AlertRows/keepsAlerts()``.
extension SQLTransaction {
    func newestAlert(account: AccountSID, cause: String) throws -> (number: Int64, alert: Alert)? {
        try connection.row(
            """
            SELECT \(Alert.columns), number FROM alerts WHERE account_sid = ? AND cause = ? ORDER BY number DESC LIMIT 1
            """, [account.rawValue, cause]
        ).map { row in (row.int64(Alert.columnCount), try Alert(row: row)) }
    }

    func countAlerts(account: AccountSID, sinceMs: Int64, most: Int) throws -> Int {
        Int(
            try connection.integer(
                """
                SELECT count(*) FROM (SELECT 1 FROM alerts WHERE account_sid = ? AND created_ms >= ? LIMIT ?) \
                AS recent_alerts
                """, [account.rawValue, sinceMs, most]))
    }

    func insert(_ alert: Alert, cause: String, number: Int64) throws -> Bool {
        try connection.hasChanged(
            """
            INSERT INTO alerts (\(Alert.columns), cause, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
            ON CONFLICT (account_sid, cause, number) DO NOTHING
            """,
            [
                alert.sid.rawValue, alert.account.rawValue, alert.service?.rawValue, alert.resource,
                alert.level.rawValue, alert.code, alert.text,
                String(decoding: try JSONEncoder().encode(alert.details), as: UTF8.self), alert.count,
                alert.createdAtMs, alert.updatedAtMs, String(cause.prefix(128)), number,
            ])
    }

    func countEvent(of alert: AlertSID, nowMs: Int64) throws {
        try connection.run(
            "UPDATE alerts SET count = count + 1, updated_ms = ? WHERE sid = ?", [nowMs, alert.rawValue])
    }

    func alert(_ sid: AlertSID, account: AccountSID) throws -> Alert? {
        try connection.row(
            "SELECT \(Alert.columns) FROM alerts WHERE sid = ? AND account_sid = ?", [sid.rawValue, account.rawValue]
        ).map(Alert.init(row:))
    }

    func alerts(_ filter: AlertFilter, page request: PageRequest) throws -> Page<Alert> {
        var sql = """
            SELECT \(Alert.columns) FROM alerts WHERE account_sid = ? AND sid < ? AND created_ms >= ? AND created_ms < ?
            """
        // Behind every SID of an alert.
        var arguments: Arguments = [filter.account.rawValue, request.after ?? "NP", filter.fromMs, filter.untilMs]
        if let level = filter.level {
            sql += " AND level = ?"
            arguments += [level.rawValue]
        }
        if let resource = filter.resource {
            sql += " AND resource_sid = ?"
            arguments += [resource]
        }
        sql += " ORDER BY sid DESC LIMIT ?"
        arguments += [request.clampedSize + 1]
        return try page(
            try connection.rows(sql, arguments), request, cursor: { $0.sid.rawValue }, Alert.init(row:))
    }

    func debugger(_ account: AccountSID) throws -> Debugger? {
        try connection.row(
            "SELECT account_sid, sid, url, created_ms, updated_ms FROM debuggers WHERE account_sid = ?",
            [account.rawValue]
        ).map { row in
            var columns = Columns(row)
            return Debugger(
                account: try columns.sid(), sid: try columns.sid(), url: columns.text(), createdAtMs: columns.int64(),
                updatedAtMs: columns.int64())
        }
    }

    func put(_ debugger: Debugger) throws {
        try connection.run(
            """
            INSERT INTO debuggers (account_sid, sid, url, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?) \
            ON CONFLICT (account_sid) DO UPDATE SET url = excluded.url, updated_ms = excluded.updated_ms
            """,
            [
                debugger.account.rawValue, debugger.sid.rawValue, debugger.url, debugger.createdAtMs,
                debugger.updatedAtMs,
            ])
    }

    func deleteDebugger(_ account: AccountSID) throws {
        try connection.run("DELETE FROM debuggers WHERE account_sid = ?", [account.rawValue])
    }

    func consents(service: ServiceSID) throws -> Set<WebhookSID> {
        Set(
            try connection.texts("SELECT sid FROM webhook_consents WHERE service_sid = ?", [service.rawValue])
                .compactMap { WebhookSID($0) })
    }

    func insertConsent(_ webhook: WebhookSID, account: AccountSID, service: ServiceSID) throws {
        try connection.run(
            """
            INSERT INTO webhook_consents (sid, account_sid, service_sid) VALUES (?, ?, ?) ON CONFLICT (sid) DO NOTHING
            """, [webhook.rawValue, account.rawValue, service.rawValue])
    }

    func deleteConsent(_ webhook: WebhookSID) throws {
        try connection.run("DELETE FROM webhook_consents WHERE sid = ?", [webhook.rawValue])
    }
}

extension Alert {
    fileprivate static let columns = """
        sid, account_sid, service_sid, resource_sid, level, code, text, details, count, created_ms, updated_ms
        """
    fileprivate static let columnCount = 11

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        let (sid, account, service): (AlertSID, AccountSID, ServiceSID?) = (
            try columns.sid(), try columns.sid(), try columns.optionalSID()
        )
        let (resource, level, code, text) = (columns.text(), columns.text(), columns.integer(), columns.text())
        let details = try JSONDecoder().decode(AlertDetails.self, from: Data(columns.text().utf8))
        let (count, createdAtMs) = (columns.integer(), columns.int64())
        self.init(
            sid: sid, account: account, service: service, resource: resource, level: Level(rawValue: level) ?? .error,
            code: code, text: text, details: details, createdAtMs: createdAtMs)
        self.count = count
        updatedAtMs = columns.int64()
    }
}
