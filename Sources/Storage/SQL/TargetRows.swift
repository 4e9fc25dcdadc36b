import ChallengeModel
import Challenges

/// The verbs of ``TargetRows``.
extension SQLTransaction {
    func insertTarget(_ factor: FactorSID, of challenge: ChallengeSID, backgroundBudget: Int) throws {
        try connection.run(
            "INSERT INTO challenge_targets (challenge_sid, factor_sid, background_budget) VALUES (?, ?, ?)",
            [challenge.rawValue, factor.rawValue, backgroundBudget])
    }

    func isTarget(_ factor: FactorSID, of challenge: ChallengeSID) throws -> Bool {
        try connection.exists(
            "SELECT 1 FROM challenge_targets WHERE challenge_sid = ? AND factor_sid = ?",
            [challenge.rawValue, factor.rawValue])
    }

    func targets(of challenge: ChallengeSID) throws -> [(factor: FactorSID, backgroundBudget: Int)] {
        try connection.rows(
            "SELECT factor_sid, background_budget FROM challenge_targets WHERE challenge_sid = ? ORDER BY factor_sid",
            [challenge.rawValue]
        ).map { row in
            var columns = Columns(row)
            return (try columns.sid(), columns.integer())
        }
    }

    func unpolled(_ challenges: [ChallengeSID], by factor: FactorSID, nowMs: Int64) throws -> [ChallengeSID] {
        let sql = """
            SELECT 1 FROM challenge_targets t JOIN challenges c ON c.sid = t.challenge_sid \
            WHERE t.challenge_sid = ? AND t.factor_sid = ? AND t.polled = 0 AND c.status = 'pending' AND c.expires_ms > ?
            """
        func isUnpolled(_ challenge: ChallengeSID) throws -> Bool {
            try connection.exists(sql, [challenge.rawValue, factor.rawValue, nowMs])
        }
        try connection.prefetch { for challenge in challenges { _ = try? isUnpolled(challenge) } }
        return try challenges.filter(isUnpolled)
    }

    func markPolled(_ challenge: ChallengeSID, by factor: FactorSID) throws -> Bool {
        try connection.hasChanged(
            "UPDATE challenge_targets SET polled = 1 WHERE challenge_sid = ? AND factor_sid = ? AND polled = 0",
            [challenge.rawValue, factor.rawValue])
    }

    func liveTargets(ofFactor factor: FactorSID, entity: EntitySID, nowMs: Int64) throws -> [LiveTarget] {
        try connection.rows(
            """
            SELECT c.sid, c.expires_ms, c.traceparent, t.factor_sid, t.background_budget \
            FROM challenges c\(dialect.by("challenges_live")) \
            JOIN challenge_targets t ON t.challenge_sid = c.sid AND t.factor_sid = ? \
            WHERE c.entity_sid = ? AND c.status = 'pending' AND c.expires_ms > ? ORDER BY c.sid
            """, [factor.rawValue, entity.rawValue, nowMs]
        ).map(LiveTarget.init(row:))
    }

    func liveTargets(of entity: EntitySID, nowMs: Int64) throws -> [LiveTarget] {
        try connection.rows(
            """
            SELECT sid, expires_ms, traceparent, t.factor_sid, t.background_budget \
            FROM challenges\(dialect.by("challenges_live")) JOIN challenge_targets t ON t.challenge_sid = sid \
            WHERE entity_sid = ? AND status = 'pending' AND expires_ms > ? AND \(Challenge.isPushed) \
            ORDER BY sid, t.factor_sid
            """, [entity.rawValue, nowMs]
        ).map(LiveTarget.init(row:))
    }
}

extension LiveTarget {
    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        self.init(
            challenge: try columns.sid(), expiresAtMs: columns.int64(), traceparent: columns.optionalText(),
            factor: try columns.sid(), backgroundBudget: columns.integer())
    }
}
