/// The connection of an open transaction: what the verbs of ``SQLTransaction`` ask a database. Synchronous; one thread
/// at a time.
///
/// Statements are written once for all databases: `?` stands for an argument, in order; ON CONFLICT in place of OR
/// IGNORE and OR REPLACE; columns by name, never `*`. An argument's type follows from its place in the statement, and
/// not from the argument: NULL has none. Where databases differ, the words come from ``dialect``.
protocol SQLConnection: AnyObject {
    associatedtype Row: SQLRow

    static var dialect: SQLDialect { get }

    /// Runs a statement, now or later: before any read of the transaction, and with the commit at the latest.
    func run(_ sql: String, _ arguments: Arguments) throws
    /// Runs it now. - Returns: how many rows it inserted, changed or deleted.
    func changes(_ sql: String, _ arguments: Arguments) throws -> Int
    func rows(_ sql: String, _ arguments: Arguments) throws -> [Row]
    /// The first.
    func row(_ sql: String, _ arguments: Arguments) throws -> Row?
    /// The first column of the first row, which is not NULL; 0: there is no row.
    func integer(_ sql: String, _ arguments: Arguments) throws -> Int64
    /// The first column of all rows, which is not NULL.
    func texts(_ sql: String, _ arguments: Arguments) throws -> [String]

    /// Asks in one round trip for what `reads` would read, and keeps each result for the first read after it that has
    /// the same statement and the same arguments. A write forgets what is left. Nothing where there is no network in
    /// between.
    ///
    /// `reads` calls verbs, each by `try?`, for what they ask and not for what they return: each is left at its first
    /// read.
    func prefetch(_ reads: () -> Void) throws
}

extension SQLConnection {
    func run(_ sql: String) throws { try run(sql, []) }
    func rows(_ sql: String) throws -> [Row] { try rows(sql, []) }
    func row(_ sql: String) throws -> Row? { try row(sql, []) }
    func integer(_ sql: String) throws -> Int64 { try integer(sql, []) }
    func texts(_ sql: String) throws -> [String] { try texts(sql, []) }

    func integer(_ sql: String, _ arguments: Arguments) throws -> Int64 { try row(sql, arguments)?.int64(0) ?? 0 }
    func texts(_ sql: String, _ arguments: Arguments) throws -> [String] {
        try rows(sql, arguments).map { $0.text(0) }
    }
    func exists(_ sql: String, _ arguments: Arguments) throws -> Bool { try row(sql, arguments) != nil }
    /// Runs it now. - Returns: whether it inserted, changed or deleted a row.
    func hasChanged(_ sql: String, _ arguments: Arguments) throws -> Bool { try changes(sql, arguments) > 0 }
}

/// A row of a result. Columns count from 0, and hold what is asked for: the schema sees to that.
///
/// A class, so that a verb is compiled once per database and holds rows without a box.
protocol SQLRow: AnyObject, SendableMetatype {
    func text(_ index: Int) -> String
    func int64(_ index: Int) -> Int64
    func bytes(_ index: Int) -> [UInt8]
    /// Nil: NULL.
    func optionalText(_ index: Int) -> String?
    func optionalInt64(_ index: Int) -> Int64?
    func optionalBytes(_ index: Int) -> [UInt8]?
}

/// Words that stand in a statement on one database only. Each begins with a space where there is one.
struct SQLDialect: Sendable {
    /// A statement says by which index a table is read.
    let namesIndexes: Bool
    /// Several transactions write at once: rows are locked.
    let locksRows: Bool
    /// Challenges and the traffic of the audit trail are in partitions by day: no index sees two days, and old days go
    /// as a whole.
    let keepsDays: Bool

    static let sqlite = SQLDialect(namesIndexes: true, locksRows: false, keepsDays: false)
    static let postgres = SQLDialect(namesIndexes: false, locksRows: true, keepsDays: true)

    /// Behind a table and its alias: the index to read it by.
    func by(_ index: String) -> String { namesIndexes ? " INDEXED BY \(index)" : "" }

    /// At the end of a SELECT: other transactions that lock the row wait until this one has ended.
    /// - Parameter table: the alias whose rows are meant.
    func locking(_ table: String) -> String { locksRows ? " FOR NO KEY UPDATE OF \(table)" : "" }

    /// The same; rows that another transaction has locked are left out.
    func skippingLocked(_ table: String) -> String { locksRows ? " FOR NO KEY UPDATE OF \(table) SKIP LOCKED" : "" }

    /// Behind a table that has an `entity_sid`: the person `e` it belongs to, to be locked.
    func person(of table: String) -> String { locksRows ? " JOIN entities e ON e.sid = \(table).entity_sid" : "" }

    /// FROM and what follows: rows `d` of a table, the first due first, with their persons locked; those whose person
    /// another transaction has locked are left out. What they are now is to be read again: they may have changed before
    /// the lock.
    /// - Parameter condition: of `d`.
    func due(_ table: String, _ condition: String, by time: String) -> String {
        let due = "\(person(of: "d")) WHERE \(condition) ORDER BY d.\(time) LIMIT ?\(skippingLocked("e"))"
        guard locksRows else { return "FROM \(table) d\(due)" }
        return "FROM \(table) d WHERE d.sid IN (SELECT d.sid FROM \(table) d\(due)) ORDER BY d.\(time)"
    }
}
