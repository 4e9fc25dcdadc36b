import ChallengeModel
import Challenges
import Synchronization
import Wire

/// The rows of an open transaction on PostgreSQL.
struct PostgresTransaction: SQLTransaction {
    let connection: PostgresConnection

    /// Asked until the tables are there: beside a producer of the version before, a database has no step 15 yet.
    func keepsAlerts() throws -> Bool {
        if connection.keepsAlerts { return true }
        let found = try connection.integer("SELECT count(*) FROM pg_class WHERE oid = to_regclass('alerts')")
        connection.keepsAlerts = found == 1
        return connection.keepsAlerts
    }
}

extension PostgresTransaction: OutboxRows {
    /// Ascends in this process, and from one to the next of the same clock: an event's row has no number before its
    /// transaction ends.
    private static let sequence = Atomic(UInt64(Timestamp.nowMs()) * 1000)

    func enqueue(_ record: OutboxRecord, nowMs: Int64) throws {
        try connection.run(
            """
            INSERT INTO outbox (lane, topic, key, value, content_type, expires_ms, traceparent, created_ms) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                OutboxLanes.lane(of: record.key), record.topic.rawValue, record.key, blob(record.value),
                record.contentType.rawValue, record.expiresAtMs, record.traceparent, nowMs,
            ])
    }

    func nextEventSequence() throws -> UInt64 {
        Self.sequence.add(1, ordering: .relaxed).newValue
    }
}
