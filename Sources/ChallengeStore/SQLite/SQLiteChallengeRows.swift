import ChallengeModel
import Foundation
import GRDB

/// A challenge as its row has it.
struct StoredChallenge {
    var challenge: Challenge
    let traceparent: String?
}

extension Challenge {
    /// Of `challenges c`.
    static let columns = """
        c.sid, c.account_sid, c.service_sid, c.entity_sid, c.identity, c.factor_sid, c.message, c.fields, \
        c.hidden_details, c.include_date, c.expires_ms, c.created_ms, c.updated_ms, c.responded_ms, c.status, \
        c.responder_sid, c.signed_answer, c.metadata, c.fallbacks, c.redelivery, c.request_id, c.notifications, \
        c.traceparent, c.action_key, c.action_id, c.number_digits, c.number_key_id, c.number_sealed, \
        c.session_required, c.quiet_until_ms, c.responder_key, c.wrong_numbers
        """

    static func read(_ row: Row) throws -> StoredChallenge {
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
        if let keyID = columns.optionalText() {
            challenge.sealedNumber = SealedNumber(keyID: keyID, sealed: columns.bytes())
        } else {
            columns.skip()
        }
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

    var fallbacksText: String {
        get throws { fallbacks.isEmpty ? "[]" : String(decoding: try JSONEncoder().encode(fallbacks), as: UTF8.self) }
    }
}

extension Database {
    func challenge(_ sid: ChallengeSID) throws -> StoredChallenge? {
        try row("SELECT \(Challenge.columns) FROM challenges c WHERE c.sid = ?", [sid.rawValue]).map(Challenge.read)
    }

    /// The challenges of an entity that are stored as pending, oldest first.
    func liveChallenges(entity: EntitySID) throws -> [StoredChallenge] {
        try rows(
            """
            SELECT \(Challenge.columns) FROM challenges c INDEXED BY challenges_live \
            WHERE c.entity_sid = ? AND c.status = 'pending' ORDER BY c.sid
            """, [entity.rawValue]
        ).map(Challenge.read)
    }

    func insert(_ challenge: Challenge, traceparent: String?) throws {
        try run(
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
                challenge.sealedNumber.map { blob($0.sealed) }, challenge.requiresSession, challenge.quietUntilMs,
            ])
    }
}
