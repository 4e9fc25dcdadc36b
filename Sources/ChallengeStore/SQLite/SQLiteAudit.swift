public import ChallengeModel
import GRDB

extension SQLiteChallengeStore {
    public func auditEvents(_ filter: AuditFilter, page request: PageRequest) async throws -> Page<AuditEvent> {
        let after = request.after.flatMap { Int64($0) } ?? Int64.max
        return try await read { database in
            var sql = """
                SELECT id, sid, account_sid, at_ms, actor, action, subject, request_id, address, count, detail FROM audit_events \
                WHERE account_sid = ? AND id < ?
                """
            var arguments: Arguments = [filter.account.rawValue, after]
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
            let rows = try database.rows(sql, arguments)
            let events = try rows.prefix(request.clampedSize).map(AuditEvent.init(row:))
            let last: Int64? = rows.prefix(request.clampedSize).last.map { $0[0] }
            return Page(items: events, next: rows.count > events.count ? last.map { String($0) } : nil)
        }
    }
}

extension SQLiteChallengeStore {
    public func account(of login: Login) async throws -> AccountSID? {
        let (sql, sid) =
            switch login {
            case .account(let sid, _): ("SELECT sid FROM accounts WHERE sid = ?", sid.rawValue)
            case .key(let sid, _): ("SELECT account_sid FROM api_keys WHERE sid = ?", sid.rawValue)
            }
        return try await read { try $0.texts(sql, [sid]).first.flatMap { AccountSID($0) } }
    }

    public func recordRefusals(_ refusals: [(mark: RefusalMark, count: Int)], nowMs: Int64) async throws {
        for start in stride(from: 0, to: refusals.count, by: 500) {
            let part = Array(refusals[start..<min(start + 500, refusals.count)])
            try await write { database in
                for (mark, count) in part {
                    try ChangeContext.$current.withValue(ChangeContext(address: mark.address)) {
                        try database.audit(
                            mark.action.rawValue, account: mark.account, subject: mark.subject, actor: mark.actor,
                            isTraffic: true, count: count, nowMs: nowMs)
                    }
                }
            }
        }
    }
}

extension Database {
    /// A change, on whose behalf it is by ``ChangeContext``, in the transaction of the change.
    func audit(
        _ action: String, account: AccountSID, subject: String, actor: String? = nil, isTraffic: Bool = false,
        count: Int = 1, detail: String? = nil, nowMs: Int64
    ) throws {
        let context = ChangeContext.current
        try run(
            """
            INSERT INTO audit_events (sid, account_sid, at_ms, actor, action, subject, request_id, traffic, address, \
            count, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                AuditEventSID.generate(nowMs: nowMs).rawValue, account.rawValue, nowMs,
                String((actor ?? context.actor).prefix(64)), action, String(subject.prefix(64)), context.requestID,
                isTraffic, context.address.map { String($0.prefix(64)) }, count, detail,
            ])
    }

    /// What an event tells of is a change too. Those that nobody asked for (expiry, what providers say) are none.
    func audit(_ type: EventType, account: AccountSID, subject: String, nowMs: Int64) throws {
        switch type {
        case .factorCreated, .factorVerified, .factorUpdated, .factorDeleted:
            try audit(type.rawValue, account: account, subject: subject, nowMs: nowMs)
        case .challengeCreated, .challengeApproved, .challengeDenied, .challengeCanceled, .challengeSuperseded:
            try audit(type.rawValue, account: account, subject: subject, isTraffic: true, nowMs: nowMs)
        default: break
        }
    }

    func hasOldAudit(nowMs: Int64) throws -> Bool {
        try exists(
            "SELECT 1 FROM audit_events WHERE traffic = 1 AND at_ms <= ? LIMIT 1",
            [nowMs - StorePolicy.auditTrafficKeptMs])
            || exists(
                "SELECT 1 FROM audit_events WHERE traffic = 0 AND at_ms <= ? LIMIT 1", [nowMs - StorePolicy.auditKeptMs]
            )
    }

    func deleteOldAudit(limit: Int, nowMs: Int64) throws {
        try run(
            """
            DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE traffic = 1 AND at_ms <= ? \
            ORDER BY at_ms LIMIT ?)
            """, [nowMs - StorePolicy.auditTrafficKeptMs, limit])
        try run(
            """
            DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE traffic = 0 AND at_ms <= ? \
            ORDER BY at_ms LIMIT ?)
            """, [nowMs - StorePolicy.auditKeptMs, limit])
    }
}

extension AuditEvent {
    /// Behind the id.
    init(row: Row) throws {
        var columns = Columns(row)
        _ = columns.int64()
        self.init(
            sid: try columns.sid(), account: try columns.sid(), atMs: columns.int64(), actor: columns.text(),
            action: columns.text(), subject: columns.text(), requestID: columns.optionalText(),
            address: columns.optionalText(), count: columns.integer(), detail: columns.optionalText())
    }
}
