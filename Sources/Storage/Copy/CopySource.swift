import ChallengeModel
import Challenges
import Crypto
import Dispatch
import Foundation
import GRDB
import GRDBSQLite
import Wire

/// The SQLite file that is copied. While it is open nobody else writes to it: it holds the lock that a Producer would,
/// and SQLite's own write lock, in one transaction that sees one state of the file and is undone at the end. The file
/// is not changed.
final class CopySource: Sendable {
    private let file: StoreFile
    private let queue: DatabaseQueue

    /// - Throws: ``StoreCopyError/refused(_:)`` when the file is missing, in use, or not at this version's schema.
    static func open(_ path: String) async throws -> CopySource {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try CopySource(path: path) }) }
        }
    }

    /// Waits some seconds for locks.
    private init(path: String) throws {
        guard FileManager.default.fileExists(atPath: path) else {
            throw StoreCopyError.refused("the source \(path) does not exist")
        }
        do { file = try StoreFile(path: path, isServing: true) } catch {
            throw StoreCopyError.refused("the source is in use: \(error.reason)")
        }
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.allowsUnsafeTransactions = true
        configuration.label = "beckon.copy"
        configuration.prepareDatabase { database in
            database.add(
                function: DatabaseFunction("outbox_lane", argumentCount: 1, pure: true) { values in
                    String.fromDatabaseValue(values[0]).map(OutboxLanes.lane(of:))
                })
        }
        do {
            queue = try DatabaseQueue(path: path, configuration: configuration)
            try queue.writeWithoutTransaction { database in
                let migrator = Migrations.migrator
                guard try !migrator.hasBeenSuperseded(database), try migrator.hasCompletedMigrations(database) else {
                    throw StoreCopyError.refused(
                        """
                        the source \(path) does not have the schema of this version of Beckon: start a producer of this \
                        version on it once, and stop it again
                        """)
                }
                try database.execute(sql: "BEGIN IMMEDIATE")
                // A snapshot begins with the first read.
                _ = try database.integer("SELECT count(*) FROM accounts")
            }
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
            throw StoreCopyError.refused(
                """
                the source \(path) is in use: another process writes to it; stop webhook relays, commands and shells on it
                """)
        } catch let error as StoreCopyError {
            throw error
        } catch {
            throw StoreCopyError.refused("the source \(path): \(SQLiteEngine.storeError(error).reason)")
        }
    }

    func close() async {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { [queue, file] in
                queue.writeWithoutTransaction { try? $0.rollback() }
                try? queue.close()
                file.release()
                continuation.resume()
            }
        }
    }

    /// How many rows every table has, and a text that is another one when the file holds another store, or has changed
    /// since.
    func inventory() async throws -> (rows: [String: Int], fingerprint: String) {
        try await read { database in
            var rows: [String: Int] = [:]
            var facts = try database.texts("SELECT sid || created_ms FROM accounts ORDER BY sid")
            for table in CopiedTable.all {
                let count = Int(try database.integer("SELECT count(*) FROM \(table.source)"))
                rows[table.name] = count
                facts.append("\(table.name) \(count)")
            }
            facts += try database.texts("SELECT name || seq FROM sqlite_sequence ORDER BY name")
            let hash = SHA256.hash(data: Array(facts.joined(separator: "\n").utf8))
            return (rows, Hexadecimal.encode(Array(hash)))
        }
    }

    /// The first milliseconds of the days that rows of partitioned tables are on, by family.
    func days() async throws -> [String: Set<Int64>] {
        try await read { database in
            var days: [String: Set<Int64>] = [:]
            for (family, table, column, condition) in CopiedTable.days {
                var next: SQLValue = family == "audit" ? .integer(.min) : .text("")
                // One look into the index per day.
                let sql = "SELECT \(column) FROM \(table) WHERE \(condition)\(column) >= ? ORDER BY \(column) LIMIT 1"
                while let row = try database.row(sql, [next]) {
                    let ms = family == "audit" ? row.int64(0) : try Self.time(of: row.text(0), table)
                    let day = ms - ms % StorePolicy.dayMs
                    days[family, default: []].insert(day)
                    let end = day + StorePolicy.dayMs
                    let sid = ChallengeSID.lowest(variant: ChallengeSID.variant, nowMs: end)
                    next = family == "audit" ? .integer(end) : .text(sid.rawValue)
                }
            }
            return days
        }
    }

    /// The time that a challenge's SID begins with.
    private static func time(of sid: String, _ table: String) throws -> Int64 {
        guard ChallengeSID(sid) != nil, sid.hasPrefix("YC03"), let ms = Int64(sid.dropFirst(4).prefix(12), radix: 16)
        else {
            throw StoreCopyError.refused(
                "the source's table \(table) has the SID \(sid), which names no day: expected YC03 and its time in 12 digits"
            )
        }
        return ms
    }

    /// The highest id that a table has given out.
    func lastID(of table: CopiedTable) async throws -> Int64 {
        try await read { try $0.integer("SELECT seq FROM sqlite_sequence WHERE name = ?", [table.source]) }
    }

    /// The rows behind a key, in its order.
    /// - Parameters:
    ///   - key: as ``CopiedRows/last``; empty: from the first.
    ///   - bound: rows at most; fewer when they have more than 4 MB.
    func rows(
        of table: CopiedTable, _ columns: [CopiedColumn], after key: [UInt8], bound: Int
    ) async throws -> CopiedRows {
        let places = table.key.compactMap { name in columns.firstIndex { $0.name == name } }
        return try await read { database in
            var sql = "SELECT \(table.selectList(columns)) FROM \(table.source)"
            var arguments: Arguments = []
            if !key.isEmpty {
                guard let values = CopiedRows.values(key, places.map { columns[$0] }) else {
                    throw StoreCopyError.failed("the target's table store_copies has no key of table \(table.name)")
                }
                for value in values { arguments += [value] }
                let blanks = Array(repeating: "?", count: values.count).joined(separator: ", ")
                sql += " WHERE (\(table.key.joined(separator: ", "))) > (\(blanks))"
            }
            sql += " ORDER BY \(table.key.joined(separator: ", ")) LIMIT \(bound)"
            var rows = CopiedRows()
            try database.step(sql, arguments) { statement in
                try rows.append(statement, table.name, columns, key: places)
                return rows.bytes.count < 4 << 20
            }
            rows.isLast = rows.count < bound && rows.bytes.count < 4 << 20
            return rows
        }
    }

    /// - Parameter report: called every 10,000 rows with how many there were.
    func sum(
        of table: CopiedTable, _ columns: [CopiedColumn], report: @escaping @Sendable (Int) -> Void
    ) async throws -> RowSum {
        try await read { database in
            var sum = RowSum()
            var row = CopiedRows()
            try database.step("SELECT \(table.selectList(columns)) FROM \(table.source)", []) { statement in
                row.removeAll()
                try row.append(statement, table.name, columns, key: [])
                row.bytes.withUnsafeBytes { sum.add($0) }
                if sum.rows % 10_000 == 0 { report(sum.rows) }
                return true
            }
            return sum
        }
    }

    private func read<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        do {
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                queue.asyncWriteWithoutTransaction { database in
                    continuation.resume(with: Result { try body(database) })
                }
            }
        } catch let error as StoreCopyError {
            throw error
        } catch {
            throw StoreCopyError.failed("the source: \(SQLiteEngine.storeError(error).reason)")
        }
    }
}

extension CopiedTable {
    fileprivate func selectList(_ columns: [CopiedColumn]) -> String {
        columns.map { expressions[$0.name] ?? $0.name }.joined(separator: ", ")
    }
}

extension Database {
    /// Rows as SQLite's own statement stands at them: a million rows of thirty columns as values of GRDB take minutes.
    /// - Parameter body: false: that was enough.
    fileprivate func step(
        _ sql: String, _ arguments: Arguments, _ body: (OpaquePointer) throws -> Bool
    ) throws {
        let pointer = try statement(sql, arguments).sqliteStatement
        defer { sqlite3_reset(pointer) }
        while true {
            switch sqlite3_step(pointer) {
            case SQLITE_ROW: guard try body(pointer) else { return }
            case SQLITE_DONE: return
            case let code: throw DatabaseError(resultCode: ResultCode(rawValue: code), message: lastErrorMessage)
            }
        }
    }
}

extension StoreError {
    /// In words.
    var reason: String {
        switch self {
        case .failed(let reason): reason
        case .unavailable(let fault): fault.detail
        default: "\(self)"
        }
    }
}
