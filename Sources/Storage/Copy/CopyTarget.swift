import Challenges
import Logging

/// The PostgreSQL database that is copied to. What was copied and how far is in its table `store_copies`, in the same
/// transactions as the rows.
struct CopyTarget: Sendable {
    /// How far a copy is.
    struct Mark: Sendable, Hashable {
        var copied = 0
        /// The key of the last row that was copied, as ``CopiedRows/last``; empty: none was.
        var after: [UInt8] = []
        var isDone = false
        /// Of the whole table, once it was compared.
        var checksum: String?
    }

    /// What a copy left behind, or is leaving.
    struct Marks: Sendable {
        let fingerprint: String
        let isDone: Bool
        /// By table.
        let tables: [String: Mark]
    }

    private let engine: PostgresEngine
    let name: String

    /// - Throws: ``StoreCopyError/refused(_:)`` when it does not answer.
    init(_ settings: PostgresSettings, logger: Logger) async throws {
        var settings = settings.named("beckon-copy")
        settings.connections = 1
        // A batch of rows, or an index that is built for it, on a slow disk.
        settings.statementDeadline = .seconds(120)
        settings.requestDeadline = .seconds(600)
        settings.acquireDeadline = .seconds(30)
        name = settings.description
        do {
            engine = try PostgresEngine(settings, logger: logger)
        } catch { throw StoreCopyError.refused(error.reason) }
        do {
            try await engine.untilReached(name: settings.description, within: .seconds(5), logger: logger)
        } catch {
            await engine.close()
            throw StoreCopyError.refused((error as? StoreError)?.reason ?? "\(error)")
        }
    }

    func close() async { await engine.close() }

    // MARK: - Before

    /// - Throws: ``StoreCopyError/refused(_:)`` when the schema is not this version's, the role is not its owner, or
    ///   others of Beckon are
    ///   connected.
    func check() async throws {
        try await run(.read) { connection in
            let state = try PostgresSchema.state(connection)
            guard PostgresSchema.served.contains(state) else { throw PostgresSchema.unserved(state) }
            let isOwner = try connection.rows(
                "SELECT pg_has_role(relowner, 'USAGE')::int FROM pg_class WHERE oid = to_regclass('challenges')",
                [PostgresValue]())
            guard isOwner.first?.int64(0) == 1 else {
                throw StoreError.failed("the role does not own the tables: use the role of beckon migrate")
            }
        } orElse: {
            .refused("the target \(name): \($0)")
        }
        // PostgreSQL shows a session for a moment after its client has gone, for example that of a trial before.
        let end = ContinuousClock.now + .seconds(5)
        while true {
            let others = try await otherSessions()
            guard others > 0 else { return }
            guard ContinuousClock.now < end else {
                throw StoreCopyError.refused(
                    "the target \(name): \(others) sessions of Beckon are connected: stop all producers and webhook "
                        + "relays on it")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func otherSessions() async throws -> Int64 {
        try await run(.read) { connection in
            try connection.rows(
                """
                SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'beckon' AND pid <> pg_backend_pid()
                """, [PostgresValue]())[0].int64(0)
        } orElse: {
            .refused("the target \(name): \($0)")
        }
    }

    func columns(of table: CopiedTable) async throws -> [CopiedColumn] {
        try await run(.read) { connection in
            try connection.rows(
                """
                SELECT attname::text, atttypid::bigint FROM pg_attribute \
                WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
                """, [.text(table.name)]
            ).map { row in
                guard let kind = CopiedColumn.Kind(rawValue: row.int64(1)) else {
                    throw StoreError.failed("column \(row.text(0)) of \(table.name) has a type that is not copied")
                }
                return CopiedColumn(name: row.text(0), kind: kind)
            }
        }
    }

    /// Nil: nobody has begun to copy.
    func marks() async throws -> Marks? {
        try await run(.read) { connection in
            guard try connection.hasStoreCopies() else { return nil }
            let rows = try connection.rows(
                "SELECT place, fingerprint, state, copied, after, checksum FROM store_copies", [PostgresValue]())
            guard let whole = rows.first(where: { $0.text(0).isEmpty }) else { return nil }
            let marks = rows.filter { !$0.text(0).isEmpty }.map { row in
                (
                    row.text(0),
                    Mark(
                        copied: Int(row.int64(3)), after: row.bytes(4), isDone: row.text(2) == "done",
                        checksum: row.optionalText(5))
                )
            }
            return Marks(
                fingerprint: whole.text(1), isDone: whole.text(2) == "done",
                tables: Dictionary(marks) { first, _ in first })
        }
    }

    /// Tables to be filled that hold rows.
    func filled() async throws -> [String] {
        try await run(.read) { connection in
            try CopiedTable.all.map(\.name).filter { table in
                try !connection.rows("SELECT 1 FROM \(table) LIMIT 1", [PostgresValue]()).isEmpty
            }
        }
    }

    // MARK: - Rows

    /// From here on no producer starts on the target until ``finish()``.
    func begin(_ fingerprint: String) async throws {
        try await run(.write) { connection in
            // Also for a superuser: what the owner makes can be read by the role of producers.
            let owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = to_regclass('challenges')"
            try connection.run("SET LOCAL ROLE \(connection.rows(owner, [PostgresValue]())[0].text(0))")
            try connection.run(StoreCopies.table)
            for place in [""] + CopiedTable.all.map(\.name) {
                try connection.run(
                    "INSERT INTO store_copies (place, fingerprint) VALUES (?, ?)", [.text(place), .text(fingerprint)])
            }
        }
    }

    func makeDays(_ days: Set<Int64>) async throws {
        // Few in a transaction: each makes tables with their indexes, and all of them are locked until its end.
        for day in days.sorted() {
            try await run(.write) { connection in
                try connection.run("SELECT make_days(?, ?)", [.integer(day), .integer(day)])
            }
        }
    }

    /// Adds rows and moves the mark, in one transaction.
    /// - Returns: the new mark.
    func add(_ rows: CopiedRows, to table: CopiedTable, _ columns: [CopiedColumn], mark: Mark) async throws -> Mark {
        var next = mark
        next.copied += rows.count
        next.isDone = rows.isLast
        if rows.count > 0 { next.after = rows.last }
        try await run(.write) { [next] connection in
            let stored = try connection.rows(
                "SELECT after FROM store_copies WHERE place = ? FOR UPDATE", [.text(table.name)])
            // The transaction may run again, but not behind another one that has moved the mark.
            guard stored.first?.bytes(0) == mark.after else {
                throw StoreError.failed("another process copies to the target")
            }
            if rows.count > 0 {
                let names = columns.map(\.name).joined(separator: ", ")
                try connection.copyIn(
                    "COPY \(table.name) (\(names)) FROM STDIN (FORMAT binary)",
                    [CopiedRows.signature, rows.bytes, CopiedRows.trailer])
            }
            try connection.run(
                "UPDATE store_copies SET after = ?, copied = ?, state = ?, changed_at = clock_timestamp() WHERE place = ?",
                [
                    .blob(next.after), .integer(Int64(next.copied)), .text(next.isDone ? "done" : "copying"),
                    .text(table.name),
                ])
        } orElse: {
            .failed("the target's table \(table.name), behind row \(mark.copied): \($0)")
        }
        return next
    }

    /// Ids that the target gives out are higher than `last`.
    func drawIDs(of table: CopiedTable, after last: Int64) async throws {
        guard last > 0 else { return }
        try await run(.write) { connection in
            let sequence =
                table.name == "audit_events" ? "'audit_ids'" : "pg_get_serial_sequence('\(table.name)', 'id')"
            try connection.run(
                """
                SELECT setval(\(sequence)::regclass, greatest(?, (SELECT coalesce(max(id), 0) FROM \(table.name))))
                """, [.integer(last)])
        }
    }

    /// The planner knows nothing of tables that were filled a moment ago.
    func analyze(_ table: CopiedTable) async throws {
        try await run(.write) { try $0.run("ANALYZE \(table.name)") }
    }

    // MARK: - Comparison

    /// Reads the table back.
    /// - Parameter report: called every 10,000 rows with how many there were.
    func sum(
        of table: CopiedTable, _ columns: [CopiedColumn], report: @escaping @Sendable (Int) -> Void
    ) async throws -> RowSum {
        let names = columns.map(\.name).joined(separator: ", ")
        return try await run(.read) { connection in
            var (sum, parser) = (RowSum(), CopiedRowParser())
            try connection.copyOut("COPY (SELECT \(names) FROM \(table.name)) TO STDOUT (FORMAT binary)") { bytes in
                try parser.read(bytes) { row in
                    sum.add(row)
                    if sum.rows % 10_000 == 0 { report(sum.rows) }
                }
            }
            guard parser.isComplete else { throw StoreError.failed("the answer to COPY ended within a row") }
            return sum
        } orElse: {
            .failed("the target's table \(table.name): \($0)")
        }
    }

    func verified(_ table: CopiedTable, _ sum: RowSum) async throws {
        try await run(.write) { connection in
            try connection.run(
                "UPDATE store_copies SET checksum = ?, changed_at = clock_timestamp() WHERE place = ?",
                [.text(sum.description), .text(table.name)])
        }
    }

    /// From here on producers start on the target.
    func finish() async throws {
        try await run(.write) { connection in
            try connection.run(
                "UPDATE store_copies SET state = 'done', changed_at = clock_timestamp() WHERE place = ''",
                [PostgresValue]())
        }
    }

    /// - Parameter orElse: what a refusal of the database means.
    private func run<Value: Sendable>(
        _ mode: PostgresConnection.Mode, _ body: @escaping @Sendable (PostgresConnection) throws -> Value,
        orElse: (String) -> StoreCopyError = { .failed("the target: \($0)") }
    ) async throws -> Value {
        do { return try await engine.run(mode, body) } catch let error as StoreError { throw orElse(error.reason) }
    }
}

/// The table of a database that a store was, or is being, copied to.
enum StoreCopies {
    /// A row for the whole, with an empty place, and one for each table. after: the key of the last row that was
    /// copied.
    static let table = """
        CREATE TABLE IF NOT EXISTS store_copies (
            place text COLLATE "C" PRIMARY KEY, fingerprint text NOT NULL, state text NOT NULL DEFAULT 'copying',
            copied bigint NOT NULL DEFAULT 0, after bytea NOT NULL DEFAULT '', checksum text,
            began_at timestamptz NOT NULL DEFAULT clock_timestamp(), changed_at timestamptz
        )
        """

    /// Whether only a part of a store is there.
    static func isUnfinished(_ connection: PostgresConnection) throws -> Bool {
        guard try connection.hasStoreCopies() else { return false }
        return try !connection.rows(
            "SELECT 1 FROM store_copies WHERE place = '' AND state <> 'done'", [PostgresValue]()
        ).isEmpty
    }
}

extension PostgresConnection {
    fileprivate func hasStoreCopies() throws -> Bool {
        let found = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('store_copies')"
        return try rows(found, [PostgresValue]())[0].int64(0) == 1
    }
}
