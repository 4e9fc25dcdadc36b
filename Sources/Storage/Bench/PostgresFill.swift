import ChallengeModel
import Challenges

extension PostgresEngine {
    /// The people of a measurement, as ``ChallengeStore/fill(_:nowMs:)`` says.
    func fill(_ fill: StoreFill, nowMs: Int64) async throws {
        guard fill.closedChallenges == 0 else {
            throw StoreError.failed(
                "a PostgreSQL store is filled with people only: older challenges are in other partitions")
        }
        let (account, service) = (PostgresValue.text(fill.account.rawValue), PostgresValue.text(fill.service.rawValue))
        let step = 20_000
        for first in stride(from: 0, to: fill.people, by: step) {
            let last = min(first + step, fill.people) - 1
            let numbers = [PostgresValue.integer(Int64(first)), .integer(Int64(last))]
            try await run(.write) { connection in
                try connection.run(
                    """
                    INSERT INTO entities (sid, account_sid, service_sid, identity, identity_key, created_ms, updated_ms) \
                    SELECT 'YE' || lpad(to_hex(i), 32, '0'), ?, ?, 'person-' || (1000000 + i), 'person-' || (1000000 + i), ?, ? \
                    FROM generate_series(?, ?) i
                    """, [account, service, .integer(nowMs), .integer(nowMs)] + numbers)
                try connection.run(
                    """
                    INSERT INTO factors (sid, account_sid, service_sid, entity_sid, identity, friendly_name, verified, public_key, \
                    key_id, platform, push_token, app_id, environment, registered_ms, created_ms, updated_ms) \
                    SELECT 'YF03' || lpad(to_hex(i), 30, '0'), ?, ?, 'YE' || lpad(to_hex(i), 32, '0'), 'person-' || (1000000 + i), \
                    'phone', 1, ?, 'CR' || lpad(to_hex(i), 32, '0'), ?, lpad(i::text, 150, '0'), 'com.example.bank', 0, ?, ?, ? \
                    FROM generate_series(?, ?) i
                    """,
                    [account, service, .blob(fill.publicKey), .integer(Int64(Platform.fcm.rawValue))]
                        + [.integer(nowMs), .integer(nowMs), .integer(nowMs)] + numbers)
            }
        }
        // What a server knows of tables that have been there for long. The days' partitions are new there too.
        try await run(.write) { try $0.run("ANALYZE entities, factors", [PostgresValue]()) }
    }
}
