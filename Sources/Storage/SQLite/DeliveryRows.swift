import ChallengeModel
import Challenges
import GRDB

extension SQLiteTransaction: DeliveryRows {
    func hasChallenge(_ sid: ChallengeSID, account: String) throws -> Bool {
        try database.exists(
            "SELECT 1 FROM challenges WHERE sid = ? AND account_sid = ?", [sid.rawValue, account])
    }

    func countFacts(of challenge: ChallengeSID) throws -> Int {
        Int(try database.integer("SELECT count(*) FROM delivery_facts WHERE challenge_sid = ?", [challenge.rawValue]))
    }

    func insertFact(_ fact: [UInt8], id: String, of challenge: ChallengeSID) throws -> Bool {
        try database.changes(
            "INSERT OR IGNORE INTO delivery_facts (challenge_sid, id, fact) VALUES (?, ?, ?)",
            [challenge.rawValue, id, blob(fact)])
    }

    func facts(of challenge: ChallengeSID, limit: Int) throws -> [(id: String, fact: [UInt8])] {
        try database.rows(
            "SELECT id, fact FROM delivery_facts WHERE challenge_sid = ? LIMIT ?", [challenge.rawValue, limit]
        ).map { row in
            var columns = Columns(row)
            return (columns.text(), columns.bytes())
        }
    }
}

extension SQLiteTransaction: OutboxRows {
    func enqueue(_ record: OutboxRecord, nowMs: Int64) throws {
        try database.run(
            """
            INSERT INTO outbox (topic, key, value, content_type, expires_ms, traceparent, created_ms) \
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                record.topic.rawValue, record.key, blob(record.value), record.contentType.rawValue,
                record.expiresAtMs, record.traceparent, nowMs,
            ])
    }

    func nextEventSequence() throws -> UInt64 {
        // The event's row is the next: there is one writer.
        UInt64(try database.lastOutboxID() + 1)
    }
}
