import Challenges

/// The verbs of ``SweptRows``.
extension SQLTransaction {
    func hasDue(_ rows: DueRows, untilMs: Int64) throws -> Bool {
        let (table, kind, time) =
            switch rows {
            case .expiredChallenges:
                ("challenges\(dialect.by("challenges_by_expiry"))", "status = 'pending' AND ", "expires_ms")
            case .unverifiedFactors: ("factors", "verified = 0 AND ", "created_ms")
            case .unverifiedCodeFactors: ("code_factors", "verified = 0 AND ", "created_ms")
            case .unreachableFactors: ("factors", "", "purge_ms")
            }
        return try hasRow(table, kind, time, untilMs)
    }

    func hasAged(_ rows: AgedRows, untilMs: Int64) throws -> Bool {
        guard !goesByDays(rows), try isThere(rows) else { return false }
        let place = rows.place
        return try hasRow(place.table, place.kind, place.time, untilMs)
    }

    /// In the order of the time, so that the index of that order is read.
    private func hasRow(_ table: String, _ kind: String, _ time: String, _ untilMs: Int64) throws -> Bool {
        try connection.exists(
            "SELECT 1 FROM \(table) WHERE \(kind)\(time) <= ? ORDER BY \(time) LIMIT 1", [untilMs])
    }

    func deleteAged(_ rows: AgedRows, untilMs: Int64, limit: Int) throws {
        guard !goesByDays(rows), try isThere(rows) else { return }
        let place = rows.place
        let key = place.key.contains(",") ? "(\(place.key))" : place.key
        try connection.run(
            """
            DELETE FROM \(place.table) WHERE \(place.kind)\(key) IN (SELECT \(place.key) FROM \(place.table) \
            WHERE \(place.kind)\(place.time) <= ? ORDER BY \(place.time) LIMIT ?\(dialect.skippingLocked(place.table)))
            """, [untilMs, limit])
    }

    private func goesByDays(_ rows: AgedRows) -> Bool { dialect.keepsDays && rows == .auditOfTraffic }

    private func isThere(_ rows: AgedRows) throws -> Bool { try rows != .alerts || keepsAlerts() }

    // MARK: - Days

    func areDaysMissing(_ days: Days) throws -> Bool {
        guard dialect.keepsDays else { return false }
        // Counted: a single day far ahead, made by a clock that was wrong, is none of them.
        let made = try connection.integer(
            """
            SELECT count(*) FROM partition_days WHERE family IN ('challenges', 'audit') AND day_ms > ? AND day_ms <= ?
            """, [days.firstMs - StorePolicy.dayMs, days.lastMs])
        return made < 2 * Int64(days.ahead + 2)
    }

    func haveDaysEnded(_ days: Days) throws -> Bool {
        guard dialect.keepsDays else { return false }
        return try connection.exists(
            """
            SELECT 1 FROM partition_days WHERE family = 'challenges' AND day_ms <= ? \
            OR family = 'audit' AND day_ms <= ? LIMIT 1
            """, [days.challengesUntilMs - StorePolicy.dayMs, days.trafficUntilMs - StorePolicy.dayMs])
    }

    func madeDays(fromMs: Int64, limit: Int) throws -> [[Int64]] {
        guard dialect.keepsDays else { return [] }
        return try ["challenges", "audit"].map { family in
            try connection.rows(
                "SELECT day_ms FROM partition_days WHERE family = ? AND day_ms >= ? ORDER BY day_ms LIMIT ?",
                [family, fromMs, limit]
            ).map { $0.int64(0) }
        }
    }

    func makeDays(_ days: Days) throws {
        guard dialect.keepsDays else { return }
        try connection.run("SELECT make_days(?, ?)", [days.firstMs, days.lastMs])
    }

    func dropDays(_ days: Days) throws {
        guard dialect.keepsDays else { return }
        try connection.run("SELECT drop_days('challenges', ?)", [days.challengesUntilMs])
        try connection.run("SELECT drop_days('audit', ?)", [days.trafficUntilMs])
    }
}

extension AgedRows {
    /// - Returns: the table, the columns that name a row, its time, and which rows it is about.
    fileprivate var place: (table: String, key: String, time: String, kind: String) {
        switch self {
        case .requestIDs: ("request_ids", "account_sid, service_sid, request_id", "created_ms", "")
        case .accessTokens: ("access_tokens", "sid", "expires_ms", "")
        case .codeCreations: ("code_creations", "factor_sid, created_ms, challenge_sid", "created_ms", "")
        case .factorCreations: ("factor_creations", "entity_sid, created_ms, factor_sid", "created_ms", "")
        case .deviceRequests: ("device_requests", "fingerprint", "expires_ms", "")
        case .sessionTokens: ("session_tokens", "secret_hash", "expires_ms", "")
        case .idempotencyKeys: ("idempotency_keys", "key_hash", "created_ms", "")
        case .auditOfTraffic: ("audit_events", "id", "at_ms", "traffic = 1 AND ")
        case .audit: ("audit_events", "id", "at_ms", "traffic = 0 AND ")
        case .alerts: ("alerts", "sid", "created_ms", "")
        }
    }
}
