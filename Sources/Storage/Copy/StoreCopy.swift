import ChallengeModel
import Challenges
public import Logging
import Wire

/// Copies a whole store from a SQLite file to a PostgreSQL database, for who outgrows one node.
///
/// Rows go in batches, each in one transaction with a mark of how far the copy is. After a kill at any moment the same
/// call goes on behind the last mark. In the end every table is read back from both sides and compared. Secrets are
/// copied as they are sealed.
public struct StoreCopy: Sendable {
    /// What has happened.
    public enum Progress: Sendable, Hashable {
        /// The table has `of` rows, and `done` of them are on the target.
        case copying(table: String, done: Int, of: Int)
        /// `done` rows of `of` of both sides were read.
        case comparing(table: String, done: Int, of: Int)
    }

    /// A table that is the same on both sides.
    public struct Table: Sendable, Hashable {
        public let name: String
        public let rows: Int
        /// Of its rows in any order, 32 hexadecimal digits; nil: not compared, in a dry run.
        public let checksum: String?
    }

    public struct Report: Sendable, Hashable {
        /// In the order in which they are copied.
        public let tables: [Table]
        /// Rows that an earlier call had copied.
        public let rowsBefore: Int
        /// An earlier call had done it all, and nothing was done.
        public let wasDone: Bool
        /// Partitions that the rows need.
        public let days: Int

        public var rows: Int { tables.reduce(0) { $0 + $1.rows } }
    }

    public let path: String
    public let target: PostgresSettings
    /// Rows of a transaction at most, 1 to 100,000. A batch is cut short at 4 MB.
    public var batchRows = 5000
    private let logger: Logger

    /// - Parameters:
    ///   - path: of the SQLite file.
    ///   - target: a database with the schema of this version, by the role that owns it.
    public init(path: String, target: PostgresSettings, logger: Logger) {
        self.path = path
        self.target = target
        self.logger = logger
    }

    /// Copies, or goes on with, or does nothing when it is done.
    /// - Parameters:
    ///   - isDry: only what can be found out without writing: whether the copy would be refused, and what there is.
    ///   - report: called from any thread, a few times a second at most and at the end of each table.
    /// - Throws: ``StoreCopyError``.
    public func run(isDry: Bool = false, report: @escaping @Sendable (Progress) -> Void) async throws -> Report {
        let source = try await CopySource.open(path)
        let result: Result<Report, any Error>
        do {
            let target = try await CopyTarget(target, logger: logger)
            do {
                result = .success(try await copy(source, target, isDry: isDry, report: report))
            } catch {
                result = .failure(error)
            }
            await target.close()
        } catch {
            result = .failure(error)
        }
        await source.close()
        return try result.get()
    }

    private func copy(
        _ source: CopySource, _ target: CopyTarget, isDry: Bool, report: @escaping @Sendable (Progress) -> Void
    ) async throws -> Report {
        try await target.check()
        let (rows, fingerprint) = try await source.inventory()
        let days = try await source.days()
        let allDays = days.values.reduce(into: Set<Int64>()) { $0.formUnion($1) }
        let marks = try await target.marks()
        if let marks {
            guard marks.fingerprint == fingerprint else {
                throw StoreCopyError.refused(
                    """
                    the target \(target.name) has a copy of another store, or the source has changed since it was begun: use an \
                    empty database, made by beckon migrate up
                    """)
            }
            if marks.isDone {
                return Report(
                    tables: CopiedTable.all.map { table in
                        Table(
                            name: table.name, rows: marks.tables[table.name]?.copied ?? 0,
                            checksum: marks.tables[table.name]?.checksum)
                    }, rowsBefore: marks.tables.values.reduce(0) { $0 + $1.copied }, wasDone: true, days: allDays.count)
            }
        } else {
            let filled = try await target.filled()
            guard filled.isEmpty else {
                throw StoreCopyError.refused(
                    """
                    the target \(target.name) holds data already (\(filled.joined(separator: ", "))): use an empty database, \
                    made by beckon migrate up
                    """)
            }
        }
        let before = marks?.tables.values.reduce(0) { $0 + $1.copied } ?? 0
        if isDry {
            return Report(
                tables: CopiedTable.all.map { Table(name: $0.name, rows: rows[$0.name] ?? 0, checksum: nil) },
                rowsBefore: before, wasDone: false, days: allDays.count)
        }
        if marks == nil { try await target.begin(fingerprint) }
        try await target.makeDays(allDays)
        var columns: [String: [CopiedColumn]] = [:]
        for table in CopiedTable.all {
            let own = try await target.columns(of: table)
            columns[table.name] = own
            try await copy(
                table, own, source, target, from: marks?.tables[table.name] ?? .init(), of: rows[table.name] ?? 0,
                report: report)
        }
        for table in CopiedTable.all where table.drawsIDs {
            try await target.drawIDs(of: table, after: source.lastID(of: table))
        }
        var tables: [Table] = []
        for table in CopiedTable.all {
            try await target.analyze(table)
            let sum = try await compare(
                table, columns[table.name] ?? [], source, target, of: rows[table.name] ?? 0, report: report)
            tables.append(Table(name: table.name, rows: sum.rows, checksum: sum.description))
        }
        try await target.finish()
        return Report(tables: tables, rowsBefore: before, wasDone: false, days: allDays.count)
    }

    private func copy(
        _ table: CopiedTable, _ columns: [CopiedColumn], _ source: CopySource, _ target: CopyTarget,
        from start: CopyTarget.Mark, of count: Int, report: @Sendable (Progress) -> Void
    ) async throws {
        var mark = start
        while !mark.isDone {
            let rows = try await source.rows(of: table, columns, after: mark.after, bound: batchRows)
            mark = try await target.add(rows, to: table, columns, mark: mark)
            report(.copying(table: table.name, done: mark.copied, of: count))
        }
    }

    /// Both sides are read, whatever was counted on the way.
    private func compare(
        _ table: CopiedTable, _ columns: [CopiedColumn], _ source: CopySource, _ target: CopyTarget, of count: Int,
        report: @escaping @Sendable (Progress) -> Void
    ) async throws -> RowSum {
        let name = table.name
        async let here = source.sum(of: table, columns) { _ in }
        let there = try await target.sum(of: table, columns) { report(.comparing(table: name, done: $0, of: count)) }
        let expected = try await here
        guard expected == there else {
            throw StoreCopyError.differs(
                """
                table \(name) differs: \(expected.rows) rows with checksum \(expected) in the source, \(there.rows) rows with \
                checksum \(there) in the target. Something else has written to one of them; begin again with an empty database
                """)
        }
        try await target.verified(table, there)
        report(.comparing(table: name, done: count, of: count))
        return there
    }
}
