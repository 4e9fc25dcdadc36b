import ChallengeModel
import Challenges

/// The verbs of ``AuditRows``.
extension SQLTransaction {
    func insert(_ event: AuditEvent, isTraffic: Bool) throws {
        try connection.run(
            """
            INSERT INTO audit_events (sid, account_sid, at_ms, actor, action, subject, request_id, traffic, address, \
            count, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                event.sid.rawValue, event.account.rawValue, event.atMs, event.actor, event.action, event.subject,
                event.requestID, isTraffic, event.address, event.count, event.detail,
            ])
    }

    func auditEvents(_ filter: AuditFilter, page request: PageRequest) throws -> Page<AuditEvent> {
        var sql = """
            SELECT id, sid, account_sid, at_ms, actor, action, subject, request_id, address, count, detail FROM audit_events \
            WHERE account_sid = ? AND id < ?
            """
        var arguments: Arguments = [filter.account.rawValue, request.after.flatMap { Int64($0) } ?? Int64.max]
        if let actor = filter.actor {
            sql += " AND actor = ?"
            arguments += [actor]
        }
        if let subject = filter.subject {
            sql += " AND subject = ?"
            arguments += [subject]
        }
        sql += " ORDER BY id DESC LIMIT ?"
        arguments += [request.clampedSize + 1]
        let rows = try connection.rows(sql, arguments)
        let events = try rows.prefix(request.clampedSize).map(AuditEvent.init(row:))
        let last: Int64? = rows.prefix(request.clampedSize).last.map { $0.int64(0) }
        return Page(items: events, next: rows.count > events.count ? last.map { String($0) } : nil)
    }
}

extension AuditEvent {
    /// Behind the id.
    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row, from: 1)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), atMs: columns.int64(), actor: columns.text(),
            action: columns.text(), subject: columns.text(), requestID: columns.optionalText(),
            address: columns.optionalText(), count: columns.integer(), detail: columns.optionalText())
    }
}

/// The verbs of ``SweptRows``.
extension SQLTransaction {
    func hasAged(_ rows: AgedRows, untilMs: Int64) throws -> Bool {
        let place = rows.place
        return try connection.exists("SELECT 1 FROM \(place.table) WHERE \(place.condition) <= ? LIMIT 1", [untilMs])
    }

    func deleteAged(_ rows: AgedRows, untilMs: Int64, limit: Int) throws {
        let place = rows.place
        let key = place.key.contains(",") ? "(\(place.key))" : place.key
        try connection.run(
            """
            DELETE FROM \(place.table) WHERE \(key) IN (SELECT \(place.key) FROM \(place.table) \
            WHERE \(place.condition) <= ? ORDER BY \(place.time) LIMIT ?\(dialect.skippingLocked(place.table)))
            """, [untilMs, limit])
    }
}

extension AgedRows {
    /// - Returns: the table, the columns that name a row, its time, and which rows it is about, up to the time.
    fileprivate var place: (table: String, key: String, time: String, condition: String) {
        switch self {
        case .requestIDs: ("request_ids", "account_sid, service_sid, request_id", "created_ms", "created_ms")
        case .accessTokens: ("access_tokens", "sid", "expires_ms", "expires_ms")
        case .codeCreations: ("code_creations", "factor_sid, created_ms, challenge_sid", "created_ms", "created_ms")
        case .factorCreations: ("factor_creations", "entity_sid, created_ms, factor_sid", "created_ms", "created_ms")
        case .deviceRequests: ("device_requests", "fingerprint", "expires_ms", "expires_ms")
        case .sessionTokens: ("session_tokens", "secret_hash", "expires_ms", "expires_ms")
        case .idempotencyKeys: ("idempotency_keys", "key_hash", "created_ms", "created_ms")
        case .auditOfTraffic: ("audit_events", "id", "at_ms", "traffic = 1 AND at_ms")
        case .audit: ("audit_events", "id", "at_ms", "traffic = 0 AND at_ms")
        }
    }
}
