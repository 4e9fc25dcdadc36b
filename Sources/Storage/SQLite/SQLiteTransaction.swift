import ChallengeModel
import Challenges
import Foundation
import GRDB

/// The rows of an open transaction on SQLite.
struct SQLiteTransaction: SQLTransaction {
    let connection: Database
}

extension SQLiteTransaction: OutboxRows {
    func enqueue(_ record: OutboxRecord, nowMs: Int64) throws {
        try connection.run(
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
        UInt64(try connection.lastOutboxID() + 1)
    }
}

/// Statements are prepared once per connection.
extension Database: SQLConnection {
    static let dialect = SQLDialect.sqlite

    func run(_ sql: String, _ arguments: Arguments) throws {
        try cachedStatement(sql: sql).execute(arguments: arguments.bound())
    }

    func changes(_ sql: String, _ arguments: Arguments) throws -> Int {
        try run(sql, arguments)
        return changesCount
    }

    func rows(_ sql: String, _ arguments: Arguments) throws -> [Row] {
        try Row.fetchAll(cachedStatement(sql: sql), arguments: arguments.bound())
    }

    func row(_ sql: String, _ arguments: Arguments) throws -> Row? {
        try Row.fetchOne(cachedStatement(sql: sql), arguments: arguments.bound())
    }

    func integer(_ sql: String, _ arguments: Arguments) throws -> Int64 {
        try Int64.fetchOne(cachedStatement(sql: sql), arguments: arguments.bound()) ?? 0
    }

    func texts(_ sql: String, _ arguments: Arguments) throws -> [String] {
        try String.fetchAll(cachedStatement(sql: sql), arguments: arguments.bound())
    }

    func prefetch(_ reads: () -> Void) {}

    /// Rows one by one, as they are asked for.
    func cursor(_ sql: String, _ arguments: Arguments) throws -> RowCursor {
        try Row.fetchCursor(cachedStatement(sql: sql), arguments: arguments.bound())
    }
}

extension Row: SQLRow {
    func text(_ index: Int) -> String { self[index] }
    func int64(_ index: Int) -> Int64 { self[index] }
    func bytes(_ index: Int) -> [UInt8] { [UInt8](self[index] as Data) }
    func optionalText(_ index: Int) -> String? { self[index] }
    func optionalInt64(_ index: Int) -> Int64? { self[index] }
    func optionalBytes(_ index: Int) -> [UInt8]? { (self[index] as Data?).map { [UInt8]($0) } }
}

extension Arguments {
    /// As GRDB binds them: a text as a C string, without its length (`sqlite3_bind_text(…, -1, …)`).
    fileprivate func bound() throws -> StatementArguments { StatementArguments(try checked()) }
}

extension SQLValue: DatabaseValueConvertible {
    var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .blob(let value): Data(value).databaseValue
        }
    }

    static func fromDatabaseValue(_ value: DatabaseValue) -> SQLValue? {
        switch value.storage {
        case .null: .null
        case .int64(let value): .integer(value)
        case .string(let value): .text(value)
        case .blob(let value): .blob([UInt8](value))
        case .double: nil
        }
    }
}
