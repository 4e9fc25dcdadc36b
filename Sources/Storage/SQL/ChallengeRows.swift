import ChallengeModel
import Challenges
import Foundation
import Wire

/// The verbs of ``ChallengeRows``.
extension SQLTransaction {
    func challenge(_ sid: ChallengeSID) throws -> StoredChallenge? {
        try connection.row("SELECT \(Challenge.columns) FROM challenges c WHERE c.sid = ?", [sid.rawValue])
            .map(Challenge.read)
    }

    func challenges(
        _ filter: ChallengeFilter, entity: EntitySID, page request: PageRequest, nowMs: Int64
    ) throws -> Page<Challenge> {
        // A phone polls for what is pending: that index holds the live ones only, however long the history is.
        let index = filter.status == .pending ? "challenges_live" : "challenges_by_entity"
        var sql = "SELECT \(Challenge.columns) FROM challenges c\(dialect.by(index)) WHERE c.entity_sid = ?"
        var arguments: Arguments = [entity.rawValue]
        switch filter.status {
        case nil: break
        case .pending:
            sql += " AND c.status = 'pending' AND c.expires_ms > ?"
            arguments += [nowMs]
        case .expired:
            let closed = ChallengeStatus.readAsExpired.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            sql += " AND (c.status IN (\(closed)) OR c.status = 'pending' AND c.expires_ms <= ?)"
            arguments += [nowMs]
        case .some(let status):
            sql += " AND c.status = ?"
            arguments += [status.rawValue]
        }
        if let factor = filter.factor {
            // Counted, so that it is looked up per challenge: PostgreSQL would make a join of EXISTS, and read all
            // targets.
            sql +=
                " AND 1 = (SELECT count(*) FROM challenge_targets t WHERE t.challenge_sid = c.sid AND t.factor_sid = ?)"
            arguments += [factor.rawValue]
        }
        if let after = request.after {
            sql += filter.descending ? " AND c.sid < ?" : " AND c.sid > ?"
            arguments += [after]
        }
        sql += " ORDER BY c.sid \(filter.descending ? "DESC" : "ASC") LIMIT ?"
        arguments += [request.clampedSize + 1]
        return try page(connection.rows(sql, arguments), request, cursor: \.sid.rawValue) {
            try Challenge.read($0).challenge
        }
    }

    func pendingChallenge(ofAction key: String, entity: EntitySID) throws -> StoredChallenge? {
        try connection.row(
            """
            SELECT \(Challenge.columns) FROM challenges c\(dialect.by("challenges_by_action")) \
            WHERE c.entity_sid = ? AND c.action_key = ? AND c.status = 'pending'
            """, [entity.rawValue, key]
        ).map(Challenge.read)
    }

    func pendingChallenges(of entity: EntitySID) throws -> [StoredChallenge] {
        try connection.rows(
            """
            SELECT \(Challenge.columns) FROM challenges c\(dialect.by("challenges_live")) \
            WHERE c.entity_sid = ? AND c.status = 'pending' ORDER BY c.sid
            """, [entity.rawValue]
        ).map(Challenge.read)
    }

    func pendingExpiries(
        of entity: EntitySID, madeIn: Range<ChallengeSID>, nowMs: Int64, limit: Int
    ) throws -> [Int64] {
        try connection.rows(
            """
            SELECT expires_ms FROM challenges\(dialect.by("challenges_live")) WHERE entity_sid = ? AND status = 'pending' \
            AND sid >= ? AND sid < ? AND expires_ms > ? AND \(Challenge.isPushed) LIMIT ?
            """,
            [entity.rawValue, madeIn.lowerBound.rawValue, madeIn.upperBound.rawValue, nowMs, limit]
        ).map { $0.int64(0) }
    }

    func insert(_ challenge: Challenge, traceparent: String?) throws {
        try connection.run(
            """
            INSERT INTO challenges (sid, account_sid, service_sid, entity_sid, identity, factor_sid, message, fields, \
            hidden_details, include_date, expires_ms, created_ms, updated_ms, status, fallbacks, redelivery, request_id, \
            traceparent, action_key, action_id, number_digits, number_key_id, number_sealed, session_required, \
            quiet_until_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                challenge.sid.rawValue, challenge.account.rawValue, challenge.service.rawValue,
                challenge.entity.rawValue, challenge.identity, challenge.factor?.rawValue, challenge.message,
                challenge.fields, challenge.hiddenDetails, challenge.includesDate, challenge.expiresAtMs,
                challenge.createdAtMs, challenge.updatedAtMs, try challenge.fallbacksText,
                blob(challenge.redelivery.protobufBytes()), challenge.requestID, traceparent,
                challenge.actionKey, challenge.actionID, challenge.numberDigits, challenge.sealedNumber?.keyID,
                challenge.sealedNumber.map { blob($0.bytes) }, challenge.requiresSession, challenge.quietUntilMs,
            ])
        guard dialect.keepsDays, let action = challenge.actionKey else { return }
        try connection.run(
            "INSERT INTO live_actions (entity_sid, action_key, challenge_sid) VALUES (?, ?, ?)",
            [challenge.entity.rawValue, action, challenge.sid.rawValue])
    }

    func close(_ challenge: Challenge, isExpired: Bool, nowMs: Int64) throws -> Bool {
        let isClosed = try connection.hasChanged(
            """
            UPDATE challenges SET status = ?, updated_ms = ?, responded_ms = ?, responder_sid = ?, signed_answer = ?, \
            metadata = ?, responder_key = ?, number_key_id = NULL, number_sealed = NULL \
            WHERE sid = ? AND status = 'pending' AND \(isExpired ? "expires_ms <= ?" : "expires_ms > ?")
            """,
            [
                challenge.status.rawValue, challenge.updatedAtMs, challenge.respondedAtMs,
                challenge.responder?.rawValue, challenge.signedAnswer, challenge.metadata,
                challenge.responderKey.map { blob($0) }, challenge.sid.rawValue, nowMs,
            ])
        if isClosed, dialect.keepsDays, let action = challenge.actionKey {
            try connection.run(
                "DELETE FROM live_actions WHERE entity_sid = ? AND action_key = ? AND challenge_sid = ?",
                [challenge.entity.rawValue, action, challenge.sid.rawValue])
        }
        return isClosed
    }

    func countResend(of sid: ChallengeSID, nowMs: Int64) throws {
        try connection.run(
            "UPDATE challenges SET notifications = notifications + 1, updated_ms = ?, quiet_until_ms = NULL WHERE sid = ?",
            [nowMs, sid.rawValue])
    }

    func countWrongNumber(of sid: ChallengeSID) throws -> Int {
        try connection.run("UPDATE challenges SET wrong_numbers = wrong_numbers + 1 WHERE sid = ?", [sid.rawValue])
        return Int(try connection.integer("SELECT wrong_numbers FROM challenges WHERE sid = ?", [sid.rawValue]))
    }

    func setQuiet(of entity: EntitySID, untilMs: Int64, nowMs: Int64) throws {
        try connection.run(
            """
            UPDATE challenges\(dialect.by("challenges_live")) SET quiet_until_ms = ? \
            WHERE entity_sid = ? AND status = 'pending' AND expires_ms > ? AND \(Challenge.isPushed)
            """, [untilMs, entity.rawValue, nowMs])
    }

    func expiredChallenges(nowMs: Int64, limit: Int) throws -> [ChallengeSID] {
        try connection.texts(
            """
            SELECT c.sid FROM challenges c\(dialect.by("challenges_by_expiry"))\(dialect.person(of: "c")) \
            WHERE c.status = 'pending' AND c.expires_ms <= ? ORDER BY c.expires_ms LIMIT ?\(dialect.skippingLocked("e"))
            """, [nowMs, limit]
        ).compactMap { ChallengeSID($0) }
    }

    func challengeVersions(_ challenges: [ChallengeSID]) throws -> [String?] {
        let sql = """
            SELECT status, updated_ms, notifications, coalesce(quiet_until_ms, 0), \
            (SELECT count(*) FROM delivery_facts f WHERE f.challenge_sid = c.sid) FROM challenges c WHERE c.sid = ?
            """
        try connection.prefetch { for sid in challenges { _ = try? connection.row(sql, [sid.rawValue]) } }
        return try challenges.map { sid in
            try connection.row(sql, [sid.rawValue]).map { row in
                "\(row.text(0)) \(row.int64(1)) \(row.int64(2)) \(row.int64(3)) \(row.int64(4))"
            }
        }
    }

    func closedChallenges(createdUntilMs: Int64, limit: Int) throws -> [ChallengeSID] {
        guard !dialect.keepsDays else { return [] }
        // Row ids ascend with the time of creation: a look at the first tells.
        return try connection.rows("SELECT sid, created_ms, status FROM challenges ORDER BY id LIMIT ?", [limit])
            .prefix { row in row.int64(1) <= createdUntilMs && row.text(2) != "pending" }
            .compactMap { ChallengeSID($0.text(0)) }
    }

    func someChallenges(of entity: EntitySID, limit: Int) throws -> [ChallengeSID] {
        // In an order: two transactions that delete them do not wait for each other in a circle.
        try connection.texts(
            "SELECT sid FROM challenges WHERE entity_sid = ? ORDER BY sid LIMIT ?", [entity.rawValue, limit]
        ).compactMap { ChallengeSID($0) }
    }

    func delete(_ challenges: [ChallengeSID]) throws {
        for sid in challenges {
            try connection.run("DELETE FROM challenges WHERE sid = ?", [sid.rawValue])
            try connection.run("DELETE FROM challenge_targets WHERE challenge_sid = ?", [sid.rawValue])
            try connection.run("DELETE FROM code_attempts WHERE challenge_sid = ?", [sid.rawValue])
            try connection.run("DELETE FROM delivery_facts WHERE challenge_sid = ?", [sid.rawValue])
        }
    }
}

extension Challenge {
    /// Of `challenges c`.
    fileprivate static let columns = """
        c.sid, c.account_sid, c.service_sid, c.entity_sid, c.identity, c.factor_sid, c.message, c.fields, \
        c.hidden_details, c.include_date, c.expires_ms, c.created_ms, c.updated_ms, c.responded_ms, c.status, \
        c.responder_sid, c.signed_answer, c.metadata, c.fallbacks, c.redelivery, c.request_id, c.notifications, \
        c.traceparent, c.action_key, c.action_id, c.number_digits, c.number_key_id, c.number_sealed, \
        c.session_required, c.quiet_until_ms, c.responder_key, c.wrong_numbers
        """

    fileprivate static func read(_ row: some SQLRow) throws -> StoredChallenge {
        var columns = Columns(row)
        var challenge = Challenge(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(), entity: try columns.sid(),
            identity: columns.text(), factor: try columns.optionalSID(), message: columns.text(),
            fields: columns.text(), hiddenDetails: columns.optionalText(), includesDate: columns.flag(),
            expiresAtMs: columns.int64(), createdAtMs: columns.int64(), updatedAtMs: columns.int64(),
            respondedAtMs: columns.optionalInt64(), status: try status(columns.text()),
            responder: try columns.optionalSID(), signedAnswer: columns.optionalText(),
            metadata: columns.optionalText(), fallbacks: try list(columns.text()),
            redelivery: try Redelivery(value: columns.bytes(), contentType: ContentType.protobuf.rawValue),
            requestID: columns.optionalText(), notifications: columns.integer())
        let traceparent = columns.optionalText()
        challenge.actionKey = columns.optionalText()
        challenge.actionID = columns.optionalText()
        challenge.numberDigits = columns.integer()
        challenge.sealedNumber = columns.optionalSealed()
        challenge.requiresSession = columns.flag()
        challenge.quietUntilMs = columns.optionalInt64()
        challenge.responderKey = columns.optionalBytes()
        challenge.wrongNumbers = columns.integer()
        return StoredChallenge(challenge: challenge, traceparent: traceparent)
    }

    private static func status(_ text: String) throws -> ChallengeStatus {
        guard let status = ChallengeStatus(rawValue: text) else { throw StoreError.failed("unknown challenge status") }
        return status
    }

    private static func list(_ text: String) throws -> [String] {
        text == "[]" ? [] : try JSONDecoder().decode([String].self, from: Data(text.utf8))
    }

    fileprivate var fallbacksText: String {
        get throws { fallbacks.isEmpty ? "[]" : String(decoding: try JSONEncoder().encode(fallbacks), as: UTF8.self) }
    }

    /// Whether it is pushed: not answered by a code. Of `challenges`.
    static let isPushed = """
        (challenges.factor_sid IS NULL \
        OR substr(challenges.factor_sid, 1, \(FactorSID.codePrefix.count)) <> '\(FactorSID.codePrefix)')
        """
}
