import ChallengeModel
import Challenges
import Foundation

/// The verbs of ``WebhookDeliveryRows``.
extension SQLTransaction {
    func endpoint(_ webhook: WebhookSID) throws -> WebhookEndpoint? {
        try connection.row("SELECT \(WebhookEndpoint.columns) FROM webhook_endpoints WHERE sid = ?", [webhook.rawValue])
            .map(WebhookEndpoint.init(row:))
    }

    func locked(_ endpoint: WebhookEndpoint) throws -> WebhookEndpoint {
        let find = "SELECT \(WebhookEndpoint.columns) FROM webhook_endpoints w WHERE sid = ?\(dialect.locking("w"))"
        if let row = try connection.row(find, [endpoint.sid.rawValue]) { return try WebhookEndpoint(row: row) }
        try insert(endpoint, onConflict: "DO NOTHING")
        guard let row = try connection.row(find, [endpoint.sid.rawValue]) else { return endpoint }
        return try WebhookEndpoint(row: row)
    }

    func endpoints(service: ServiceSID) throws -> [WebhookEndpoint] {
        try connection.rows(
            "SELECT \(WebhookEndpoint.columns) FROM webhook_endpoints WHERE service_sid = ?", [service.rawValue]
        ).map(WebhookEndpoint.init(row:))
    }

    func put(_ endpoint: WebhookEndpoint) throws {
        try insert(
            endpoint,
            onConflict: """
                DO UPDATE SET format = excluded.format, health = excluded.health, \
                secret_key_id = excluded.secret_key_id, secret_sealed = excluded.secret_sealed, \
                former_key_id = excluded.former_key_id, former_sealed = excluded.former_sealed, \
                former_until_ms = excluded.former_until_ms
                """)
    }

    private func insert(_ endpoint: WebhookEndpoint, onConflict: String) throws {
        try connection.run(
            """
            INSERT INTO webhook_endpoints (\(WebhookEndpoint.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
            ON CONFLICT (sid) \(onConflict)
            """,
            [
                endpoint.sid.rawValue, endpoint.account.rawValue, endpoint.service.rawValue, endpoint.format.rawValue,
                String(decoding: try JSONEncoder().encode(endpoint.health), as: UTF8.self),
                endpoint.secret?.keyID, endpoint.secret.map { blob($0.bytes) }, endpoint.formerSecret?.keyID,
                endpoint.formerSecret.map { blob($0.bytes) }, endpoint.formerUntilMs,
            ])
    }

    func deleteEndpoint(_ webhook: WebhookSID) throws {
        try connection.run("DELETE FROM webhook_endpoints WHERE sid = ?", [webhook.rawValue])
    }

    func insert(_ delivery: WebhookDelivery) throws -> Bool {
        try connection.hasChanged(
            """
            INSERT INTO webhook_deliveries (account_sid, service_sid, webhook_sid, subject, part, event_id, \
            event_type, event, traceparent, state, due_ms, failures, first_failure_ms, status, code, reason, \
            created_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
            ON CONFLICT (webhook_sid, event_id) DO NOTHING
            """,
            [
                delivery.account.rawValue, delivery.service.rawValue, delivery.webhook.rawValue, delivery.subject,
                Int64(delivery.partition), delivery.eventID, delivery.eventType, blob(delivery.event),
                delivery.traceparent, delivery.state.rawValue, delivery.dueMs, delivery.failures,
                delivery.firstFailureMs, delivery.status, delivery.code, delivery.reason, delivery.createdMs,
                delivery.state == .waiting ? nil : delivery.createdMs,
            ])
    }

    func delivery(_ id: Int64) throws -> WebhookDelivery? {
        try connection.row("SELECT \(WebhookDelivery.columns) FROM webhook_deliveries WHERE id = ?", [id])
            .map(WebhookDelivery.init(row:))
    }

    func delivery(event: String, webhook: WebhookSID) throws -> WebhookDelivery? {
        try connection.row(
            "SELECT \(WebhookDelivery.columns) FROM webhook_deliveries WHERE webhook_sid = ? AND event_id = ?",
            [webhook.rawValue, event]
        ).map(WebhookDelivery.init(row:))
    }

    func update(_ delivery: WebhookDelivery, endedMs: Int64?) throws {
        try connection.run(
            """
            UPDATE webhook_deliveries SET state = ?, due_ms = ?, failures = ?, first_failure_ms = ?, status = ?, \
            code = ?, reason = ?, ended_ms = ? WHERE id = ?
            """,
            [
                delivery.state.rawValue, delivery.dueMs, delivery.failures, delivery.firstFailureMs, delivery.status,
                delivery.code, delivery.reason, endedMs, delivery.id,
            ])
    }

    func deleteDelivery(_ id: Int64) throws {
        try connection.run("DELETE FROM webhook_deliveries WHERE id = ?", [id])
    }

    func hasWaiting(webhook: WebhookSID, subject: String) throws -> Bool {
        try connection.exists(
            """
            SELECT 1 FROM webhook_deliveries WHERE webhook_sid = ? AND subject = ? AND state = 'waiting' LIMIT 1
            """, [webhook.rawValue, subject])
    }

    func promote(webhook: WebhookSID, subject: String, dueMs: Int64) throws {
        try connection.run(
            """
            UPDATE webhook_deliveries SET due_ms = ? WHERE due_ms IS NULL AND id = (SELECT id FROM webhook_deliveries \
            WHERE webhook_sid = ? AND subject = ? AND state = 'waiting' ORDER BY id LIMIT 1)
            """, [dueMs, webhook.rawValue, subject])
    }

    func countWaiting(webhook: WebhookSID, most: Int) throws -> Int {
        Int(
            try connection.integer(
                """
                SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries WHERE webhook_sid = ? AND state = 'waiting' \
                LIMIT ?) AS waiting_rows
                """, [webhook.rawValue, most]))
    }

    func backlogs() throws -> [WebhookBacklog] {
        try connection.rows(
            """
            SELECT part, account_sid, service_sid, webhook_sid, min(due_ms) FROM webhook_deliveries \
            WHERE due_ms IS NOT NULL GROUP BY part, account_sid, service_sid, webhook_sid
            """
        ).map { row in
            var columns = Columns(row)
            return WebhookBacklog(
                partition: Int32(columns.integer()), account: try columns.sid(), service: try columns.sid(),
                webhook: try columns.sid(), dueMs: columns.int64())
        }
    }

    func dueDeliveries(
        partition: Int32, webhook: WebhookSID, untilMs: Int64, limit: Int
    ) throws -> [WebhookDelivery] {
        try connection.rows(
            """
            SELECT \(WebhookDelivery.columns) FROM webhook_deliveries WHERE part = ? AND webhook_sid = ? \
            AND due_ms IS NOT NULL AND due_ms <= ? ORDER BY due_ms LIMIT ?
            """, [Int64(partition), webhook.rawValue, untilMs, limit]
        ).map(WebhookDelivery.init(row:))
    }

    func bringForward(partition: Int32, webhook: WebhookSID, nowMs: Int64) throws {
        try connection.run(
            """
            UPDATE webhook_deliveries SET due_ms = ? WHERE part = ? AND webhook_sid = ? AND due_ms IS NOT NULL \
            AND due_ms > ?
            """, [nowMs, Int64(partition), webhook.rawValue, nowMs])
    }

    func deliveries(
        webhook: WebhookSID, state: WebhookDelivery.State?, page request: PageRequest
    ) throws -> Page<WebhookDelivery> {
        let before = request.after.flatMap { Int64($0) } ?? .max
        let filter = state == nil ? "" : "AND state = ? "
        let rows = try connection.rows(
            """
            SELECT \(WebhookDelivery.columns) FROM webhook_deliveries WHERE webhook_sid = ? AND id < ? \
            \(filter)ORDER BY id DESC LIMIT ?
            """,
            [webhook.rawValue, before] + (state.map { [$0.rawValue] } ?? []) + [request.clampedSize + 1])
        return try page(rows, request, cursor: { String($0.id) }, WebhookDelivery.init(row:))
    }

    func endedDeliveries(webhook: WebhookSID, sinceMs: Int64, limit: Int) throws -> [WebhookDelivery] {
        try connection.rows(
            """
            SELECT \(WebhookDelivery.columns) FROM webhook_deliveries WHERE webhook_sid = ? AND state <> 'waiting' \
            AND created_ms >= ? ORDER BY id LIMIT ?
            """, [webhook.rawValue, sinceMs, limit]
        ).map(WebhookDelivery.init(row:))
    }

    func deleteEndedDeliveries(untilMs: Int64, limit: Int) throws {
        try connection.run(
            """
            DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE ended_ms IS NOT NULL \
            AND ended_ms < ? LIMIT ?)
            """, [untilMs, limit])
    }

    func insert(_ attempt: WebhookAttempt) throws {
        try connection.run(
            """
            INSERT INTO webhook_attempts (webhook_sid, event_id, event_type, at_ms, took_ms, status, code, reason) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                attempt.webhook.rawValue, attempt.eventID, attempt.eventType, attempt.atMs, attempt.tookMs,
                attempt.status, attempt.code, attempt.reason,
            ])
    }

    func attempts(webhook: WebhookSID, page request: PageRequest) throws -> Page<WebhookAttempt> {
        let before = request.after.flatMap { Int64($0) } ?? .max
        let rows = try connection.rows(
            """
            SELECT id, webhook_sid, event_id, event_type, at_ms, took_ms, status, code, reason FROM webhook_attempts \
            WHERE webhook_sid = ? AND id < ? ORDER BY id DESC LIMIT ?
            """, [webhook.rawValue, before, request.clampedSize + 1])
        return try page(rows, request, cursor: { String($0.id) }) { row in
            var columns = Columns(row)
            let id = columns.int64()
            var attempt = WebhookAttempt(
                webhook: try columns.sid(), eventID: columns.text(), eventType: columns.text(), atMs: columns.int64(),
                tookMs: columns.int64(), status: columns.integer(), code: columns.integer(), reason: columns.text())
            attempt.id = id
            return attempt
        }
    }

    func deleteAttempts(untilMs: Int64, limit: Int) throws {
        try connection.run(
            """
            DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM webhook_attempts WHERE at_ms < ? LIMIT ?)
            """, [untilMs, limit])
    }
}

extension WebhookEndpoint {
    fileprivate static let columns = """
        sid, account_sid, service_sid, format, health, secret_key_id, secret_sealed, former_key_id, former_sealed, \
        former_until_ms
        """

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        self.init(sid: try columns.sid(), account: try columns.sid(), service: try columns.sid())
        format = WebhookFormat(rawValue: columns.text()) ?? .form
        health = try JSONDecoder().decode(WebhookHealth.self, from: Data(columns.text().utf8))
        secret = columns.optionalSealed()
        formerSecret = columns.optionalSealed()
        formerUntilMs = columns.int64()
    }
}

extension WebhookDelivery {
    fileprivate static let columns = """
        id, account_sid, service_sid, webhook_sid, subject, part, event_id, event_type, event, traceparent, state, \
        due_ms, failures, first_failure_ms, status, code, reason, created_ms
        """

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        let id = columns.int64()
        self.init(
            account: try columns.sid(), service: try columns.sid(), webhook: try columns.sid(),
            subject: columns.text(), partition: Int32(columns.integer()), eventID: columns.text(),
            eventType: columns.text(), event: columns.bytes(), traceparent: columns.optionalText(), nowMs: 0)
        self.id = id
        state = State(rawValue: columns.text()) ?? .exhausted
        dueMs = columns.optionalInt64()
        failures = columns.integer()
        firstFailureMs = columns.int64()
        status = columns.integer()
        code = columns.integer()
        reason = columns.text()
        createdMs = columns.int64()
    }
}
