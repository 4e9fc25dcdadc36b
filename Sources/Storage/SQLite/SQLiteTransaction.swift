import ChallengeModel
import Challenges
import Foundation
import GRDB
import GRDBSQLite

/// The rows of an open transaction on SQLite.
struct SQLiteTransaction: SQLTransaction {
    let connection: Database

    /// A file is migrated when it is opened.
    func keepsAlerts() -> Bool { true }
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
        try statement(sql, arguments).execute()
    }

    func changes(_ sql: String, _ arguments: Arguments) throws -> Int {
        try run(sql, arguments)
        return changesCount
    }

    func rows(_ sql: String, _ arguments: Arguments) throws -> [Row] {
        try Row.fetchAll(statement(sql, arguments))
    }

    func row(_ sql: String, _ arguments: Arguments) throws -> Row? {
        try Row.fetchOne(statement(sql, arguments))
    }

    func integer(_ sql: String, _ arguments: Arguments) throws -> Int64 {
        try Int64.fetchOne(statement(sql, arguments)) ?? 0
    }

    func texts(_ sql: String, _ arguments: Arguments) throws -> [String] {
        try String.fetchAll(statement(sql, arguments))
    }

    func prefetch(_ reads: () -> Void) {}

    /// Prepared and bound.
    func statement(_ sql: String, _ arguments: Arguments) throws -> Statement {
        let statement = try cachedStatement(sql: sql)
        try statement.bind(arguments.checked())
        return statement
    }

    /// Rows one by one, as they are asked for.
    func cursor(_ sql: String, _ arguments: Arguments) throws -> RowCursor {
        try Row.fetchCursor(statement(sql, arguments))
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

extension Statement {
    /// Binds a value to each `?`, texts with their length. `StatementArguments` would make two arrays of boxed values
    /// for each statement, a tenth of a creation's processor time.
    /// - Throws: `DatabaseError` when the numbers of values and `?` differ, or a value is larger than SQLite's limit.
    fileprivate func bind(_ values: [SQLValue]) throws {
        // Resets the statement and tells GRDB that it is bound.
        setUncheckedArguments([])
        guard sqlite3_bind_parameter_count(sqliteStatement) == values.count else {
            throw DatabaseError(
                resultCode: .SQLITE_MISUSE, message: "wrong number of statement arguments: \(values.count)", sql: sql)
        }
        var index: Int32 = 0
        for value in values {
            index += 1
            let code = bind(value, at: index)
            guard code == SQLITE_OK else { throw DatabaseError(resultCode: ResultCode(rawValue: code), sql: sql) }
        }
    }

    private func bind(_ value: SQLValue, at index: Int32) -> Int32 {
        // SQLite copies the bytes before it returns.
        let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch value {
        case .null: return sqlite3_bind_null(sqliteStatement, index)
        case .integer(let value): return sqlite3_bind_int64(sqliteStatement, index, value)
        case .text(var text):
            return text.withUTF8 { bytes in
                // SQLite binds NULL for a null pointer.
                guard let start = UnsafeRawPointer(bytes.baseAddress), !bytes.isEmpty else {
                    return sqlite3_bind_text(sqliteStatement, index, "", 0, copied)
                }
                return sqlite3_bind_text64(
                    sqliteStatement, index, start.assumingMemoryBound(to: CChar.self), UInt64(bytes.count), copied,
                    UInt8(SQLITE_UTF8))
            }
        case .blob(let bytes):
            guard !bytes.isEmpty else { return sqlite3_bind_zeroblob(sqliteStatement, index, 0) }
            return bytes.withUnsafeBytes {
                sqlite3_bind_blob64(sqliteStatement, index, $0.baseAddress, UInt64($0.count), copied)
            }
        }
    }
}
