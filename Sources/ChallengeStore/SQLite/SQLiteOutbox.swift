public import ChallengeModel
import Foundation
import GRDB

extension Database {
    /// The highest outbox id given out; ids are never used again.
    func lastOutboxID() throws -> Int64 { try integer("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'") }

    /// One row on its way to Kafka, in the transaction of what it follows from.
    func enqueue(
        _ topic: Topic, key: String, value: [UInt8], contentType: ContentType = .protobuf, expiresAtMs: Int64? = nil,
        traceparent: String? = nil, nowMs: Int64
    ) throws {
        try run(
            """
            INSERT INTO outbox (topic, key, value, content_type, expires_ms, traceparent, created_ms) \
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [topic.rawValue, key, blob(value), contentType.rawValue, expiresAtMs, traceparent, nowMs])
    }

    /// An event as an outbox row. Its sequence is the row's own number: ascending per store, for there is one writer.
    /// - Parameter id: for an event that can happen more than once to its subject; else `<subject>/<type>`.
    func emit(
        _ type: EventType, account: AccountSID, service: String, subject: String, id: String? = nil,
        data: [String: EventValue], traceparent: String? = nil, nowMs: Int64
    ) throws {
        let event = CloudEvent(
            id: id ?? "\(subject)/\(type.rawValue)", type: type, account: account.rawValue, service: service,
            subject: subject, timeMs: nowMs, sequence: UInt64(try lastOutboxID() + 1), data: data)
        try enqueue(
            .events, key: subject, value: event.jsonBytes(), contentType: .cloudEvent, traceparent: traceparent,
            nowMs: nowMs)
        try audit(type, account: account, subject: subject, nowMs: nowMs)
    }
}

extension SQLiteChallengeStore {
    public func recordEvent(
        _ type: EventType, account: AccountSID, service: String, subject: String, id: String,
        data: [String: EventValue],
        nowMs: Int64
    ) async throws {
        try await write { database in
            try database.emit(
                type, account: account, service: service, subject: subject, id: id, data: data, nowMs: nowMs)
        }
    }

    public func claimOutbox(owner: String, limit: Int, leaseMs: Int64, nowMs: Int64) async throws -> [OutboxRow] {
        precondition(!owner.isEmpty, "a lease needs an owner")
        // A read first: an idle relay costs no commit.
        let isWaiting = try await read { database in
            if try database.exists("SELECT 1 FROM outbox WHERE lease_owner = '' LIMIT 1") { return true }
            return try Self.owners(database).contains { other in
                try database.exists(
                    "SELECT 1 FROM outbox WHERE lease_owner = ? AND lease_until_ms <= ? LIMIT 1", [other, nowMs])
            }
        }
        guard isWaiting else { return [] }
        return try await write { database in
            // What a dead owner holds is older than what is free: given back first, it comes first.
            for other in try Self.owners(database) {
                try database.run(
                    """
                    UPDATE outbox SET lease_owner = '', lease_until_ms = 0 WHERE lease_owner = ? AND lease_until_ms <= ?
                    """, [other, nowMs])
            }
            let rows = try Self.free(database, owner: owner, limit: min(max(limit, 1), 10_000))
            for row in rows {
                try database.run(
                    "UPDATE outbox SET lease_owner = ?, lease_until_ms = ? WHERE id = ?",
                    [owner, nowMs + leaseMs, row.id])
            }
            return rows
        }
    }

    public func deleteOutbox(_ ids: [Int64], owner: String) async throws {
        guard !ids.isEmpty else { return }
        try await write { database in
            for id in ids { try database.run("DELETE FROM outbox WHERE id = ? AND lease_owner = ?", [id, owner]) }
        }
    }

    public func releaseOutbox(_ ids: [Int64], owner: String) async throws {
        guard !ids.isEmpty else { return }
        try await write { database in
            for id in ids {
                try database.run(
                    "UPDATE outbox SET lease_owner = '', lease_until_ms = 0 WHERE id = ? AND lease_owner = ?",
                    [id, owner])
            }
        }
    }

    public func releaseOutbox(owner: String) async throws {
        let holds = try await read { database in
            try database.exists("SELECT 1 FROM outbox WHERE lease_owner = ? LIMIT 1", [owner])
        }
        guard holds else { return }
        try await write { database in
            try database.run(
                "UPDATE outbox SET lease_owner = '', lease_until_ms = 0 WHERE lease_owner = ?", [owner])
        }
    }

    public func outboxState() async throws -> (rows: Int, oldestDispatchMs: Int64?) {
        try await read { database in
            let rows = try database.integer("SELECT rows FROM outbox_count WHERE id = 1")
            let oldest = try database.row(
                "SELECT created_ms FROM outbox WHERE topic = 'challenges' ORDER BY id LIMIT 1")
            return (Int(rows), oldest.map { $0[0] })
        }
    }

    /// Who holds leases: a few. One index look-up each.
    private static func owners(_ database: Database) throws -> [String] {
        var owners: [String] = []
        while let row = try database.row(
            "SELECT lease_owner FROM outbox WHERE lease_owner > ? ORDER BY lease_owner LIMIT 1", [owners.last ?? ""])
        {
            owners.append(row[0])
        }
        return owners
    }

    /// The oldest free rows, without those whose key another owner holds an earlier row of: they would overtake it.
    private static func free(_ database: Database, owner: String, limit: Int) throws -> [OutboxRow] {
        var held: Set<String> = []
        for other in try owners(database) where other != owner {
            held.formUnion(try database.texts("SELECT topic || ' ' || key FROM outbox WHERE lease_owner = ?", [other]))
        }
        let cursor = try Row.fetchCursor(
            database.cachedStatement(
                sql: """
                    SELECT id, topic, key, value, content_type, expires_ms, traceparent FROM outbox \
                    WHERE lease_owner = '' ORDER BY lease_until_ms, id
                    """))
        var found: [OutboxRow] = []
        while found.count < limit, let row = try cursor.next() {
            let outboxRow = try outboxRow(row)
            if held.isEmpty || !held.contains("\(outboxRow.topic.rawValue) \(outboxRow.key)") {
                found.append(outboxRow)
            }
        }
        return found
    }

    private static func outboxRow(_ row: Row) throws -> OutboxRow {
        var columns = Columns(row)
        let id = columns.int64()
        guard let topic = Topic(rawValue: columns.text()) else {
            throw StoreError.failed("outbox row \(id) names an unknown topic")
        }
        let key = columns.text()
        let value = columns.bytes()
        guard let contentType = ContentType(rawValue: columns.text()) else {
            throw StoreError.failed("outbox row \(id) names an unknown content type")
        }
        return OutboxRow(
            id: id, topic: topic, key: key, value: value, contentType: contentType,
            expiresAtMs: columns.optionalInt64(),
            traceparent: columns.optionalText())
    }
}
