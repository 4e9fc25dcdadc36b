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
