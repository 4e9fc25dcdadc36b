import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    /// Beside the expiry this is where everything else goes whose time has come, a bounded number at a time: request ids,
    /// access tokens, factors never verified, old challenges, and what deleted services and entities left.
    public func expireDue(limit: Int, nowMs: Int64) async throws -> Int {
        let limit = min(max(limit, 1), 10_000)
        // A read first: an idle sweep costs no commit.
        let due = try await read { database in
            (
                expiry: try database.exists(Self.expired + " LIMIT 1", [nowMs]),
                rest: try database.hasHousekeeping(keptMs: self.retentionMs, nowMs: nowMs)
            )
        }
        if due.rest {
            try await write { [brake] database in
                try database.keepHouse(limit: limit, keptMs: self.retentionMs, nowMs: nowMs)
                try database.purgeUnreachable(limit: limit, brake: brake, nowMs: nowMs)
            }
        }
        guard due.expiry else { return 0 }
        return try await write { database in
            let sids = try database.texts(Self.expired + " ORDER BY expires_ms LIMIT ?", [nowMs, limit])
            for text in sids {
                guard let sid = ChallengeSID(text), let stored = try database.challenge(sid) else { continue }
                try database.close(stored, .expire, nowMs: nowMs)
            }
            return sids.count
        }
    }

    private static let expired =
        "SELECT sid FROM challenges INDEXED BY challenges_by_expiry WHERE status = 'pending' AND expires_ms <= ?"
}

extension Database {
    func hasHousekeeping(keptMs: Int64, nowMs: Int64) throws -> Bool {
        if try exists("SELECT 1 FROM request_ids WHERE created_ms <= ? LIMIT 1", [nowMs - StorePolicy.requestIDLifeMs])
        {
            return true
        }
        if try exists(
            "SELECT 1 FROM access_tokens WHERE expires_ms <= ? LIMIT 1", [nowMs - StorePolicy.accessTokenKeptMs])
        {
            return true
        }
        if try exists(
            "SELECT 1 FROM factors WHERE verified = 0 AND created_ms <= ? LIMIT 1",
            [nowMs - StorePolicy.unverifiedLifeMs])
        {
            return true
        }
        if try exists(
            "SELECT 1 FROM code_factors WHERE verified = 0 AND created_ms <= ? LIMIT 1",
            [nowMs - StorePolicy.unverifiedLifeMs])
        {
            return true
        }
        for table in ["code_creations", "factor_creations"] {
            if try exists("SELECT 1 FROM \(table) WHERE created_ms <= ? LIMIT 1", [nowMs - StorePolicy.dayMs]) {
                return true
            }
        }
        if try exists("SELECT 1 FROM device_requests WHERE expires_ms <= ? LIMIT 1", [nowMs])
            || hasOldAudit(nowMs: nowMs) || hasOldPolicyRows(nowMs: nowMs) || hasUnreachableToPurge(nowMs: nowMs)
        {
            return true
        }
        if try exists("SELECT 1 FROM services WHERE deleted = 1 LIMIT 1") { return true }
        if try exists("SELECT 1 FROM entity_purges LIMIT 1") { return true }
        return try !oldChallenges(keptMs: keptMs, nowMs: nowMs, limit: 1).isEmpty
    }

    func keepHouse(limit: Int, keptMs: Int64, nowMs: Int64) throws {
        try run(
            """
            DELETE FROM request_ids WHERE (account_sid, service_sid, request_id) IN (SELECT account_sid, service_sid, \
            request_id FROM request_ids WHERE created_ms <= ? ORDER BY created_ms LIMIT ?)
            """, [nowMs - StorePolicy.requestIDLifeMs, limit])
        try run(
            """
            DELETE FROM access_tokens WHERE rowid IN (SELECT rowid FROM access_tokens WHERE expires_ms <= ? \
            ORDER BY expires_ms LIMIT ?)
            """, [nowMs - StorePolicy.accessTokenKeptMs, limit])
        try pruneUnverified(
            "1", [], createdBeforeMs: nowMs - StorePolicy.unverifiedLifeMs, limit: limit, nowMs: nowMs)
        try deleteOldDeviceRequests(limit: limit, nowMs: nowMs)
        try deleteOldAudit(limit: limit, nowMs: nowMs)
        try deleteOldPolicyRows(limit: limit, nowMs: nowMs)
        try pruneUnverifiedCodes(
            "1", [], createdBeforeMs: nowMs - StorePolicy.unverifiedLifeMs, limit: limit, nowMs: nowMs)
        for (table, key) in [
            ("code_creations", "factor_sid, created_ms, challenge_sid"),
            ("factor_creations", "entity_sid, created_ms, factor_sid"),
        ] {
            try run(
                """
                DELETE FROM \(table) WHERE (\(key)) IN (SELECT \(key) FROM \(table) WHERE created_ms <= ? \
                ORDER BY created_ms LIMIT ?)
                """, [nowMs - StorePolicy.dayMs, limit])
        }
        try delete(challenges: oldChallenges(keptMs: keptMs, nowMs: nowMs, limit: limit))
        try purgeServices(limit: max(1, limit / 10), nowMs: nowMs)
        try purgeEntities(limit: limit)
    }

    /// Closed challenges past their time. Row ids ascend with the time of creation: a look at the first tells.
    private func oldChallenges(keptMs: Int64, nowMs: Int64, limit: Int) throws -> [String] {
        let rows = try rows("SELECT sid, created_ms, status FROM challenges ORDER BY id LIMIT ?", [limit])
        return rows.prefix { row in
            (row[1] as Int64) <= nowMs - keptMs && (row[2] as String) != "pending"
        }.map { $0[0] }
    }

    private func delete(challenges: [String]) throws {
        for sid in challenges {
            try run("DELETE FROM challenges WHERE sid = ?", [sid])
            try run("DELETE FROM challenge_targets WHERE challenge_sid = ?", [sid])
            try run("DELETE FROM code_attempts WHERE challenge_sid = ?", [sid])
            try run("DELETE FROM delivery_facts WHERE challenge_sid = ?", [sid])
        }
    }

    private func purgeServices(limit: Int, nowMs: Int64) throws {
        guard let service = try texts("SELECT sid FROM services WHERE deleted = 1 LIMIT 1").first else { return }
        let entities = try rows(
            "SELECT \(Entity.columns) FROM entities e WHERE service_sid = ? LIMIT ?", [service, limit])
        for row in entities { try delete(Entity(row: row), nowMs: nowMs) }
        if entities.count < limit {
            try run("DELETE FROM webhooks WHERE service_sid = ?", [service])
            try run("DELETE FROM services WHERE sid = ?", [service])
        }
    }

    private func purgeEntities(limit: Int) throws {
        guard let entity = try texts("SELECT entity_sid FROM entity_purges LIMIT 1").first else { return }
        let sids = try texts("SELECT sid FROM challenges WHERE entity_sid = ? LIMIT ?", [entity, limit])
        try delete(challenges: sids)
        if sids.count < limit { try run("DELETE FROM entity_purges WHERE entity_sid = ?", [entity]) }
    }
}
