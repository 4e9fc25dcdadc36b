import ChallengeModel
import Challenges
import Foundation
import GRDB

/// What a statement is run with: numbers, blobs, and texts without U+0000.
///
/// GRDB binds a text as a C string, without its length (`sqlite3_bind_text(…, -1, …)`), and reads it back as one: U+0000 would
/// end it, and two texts would become one row. Every statement with arguments of ours goes through here, so that such a text
/// neither gets into the file nor finds a row.
struct Arguments: ExpressibleByArrayLiteral {
    private var values: [DatabaseValue]
    private var holdsNul: Bool

    init(arrayLiteral elements: (any DatabaseValueConvertible)?...) {
        values = elements.map { $0?.databaseValue ?? .null }
        holdsNul = values.contains { value in
            if case .string(let text) = value.storage { text.utf8.contains(0) } else { false }
        }
    }

    static func + (left: Arguments, right: Arguments) -> Arguments {
        var sum = left
        sum += right
        return sum
    }

    static func += (left: inout Arguments, right: Arguments) {
        left.values += right.values
        left.holdsNul = left.holdsNul || right.holdsNul
    }

    /// - Throws: ``StoreError/nulInText``.
    func checked() throws(StoreError) -> StatementArguments {
        guard !holdsNul else { throw .nulInText }
        return StatementArguments(values)
    }
}

extension Database {
    /// Runs a statement that is prepared once per connection.
    func run(_ sql: String, _ arguments: Arguments = []) throws {
        try cachedStatement(sql: sql).execute(arguments: arguments.checked())
    }

    /// The same, and whether it changed a row.
    func changes(_ sql: String, _ arguments: Arguments = []) throws -> Bool {
        try run(sql, arguments)
        return changesCount > 0
    }

    func row(_ sql: String, _ arguments: Arguments = []) throws -> Row? {
        try Row.fetchOne(cachedStatement(sql: sql), arguments: arguments.checked())
    }

    func rows(_ sql: String, _ arguments: Arguments = []) throws -> [Row] {
        try Row.fetchAll(cachedStatement(sql: sql), arguments: arguments.checked())
    }

    /// Rows one by one, as they are asked for.
    func cursor(_ sql: String, _ arguments: Arguments = []) throws -> RowCursor {
        try Row.fetchCursor(cachedStatement(sql: sql), arguments: arguments.checked())
    }

    func exists(_ sql: String, _ arguments: Arguments = []) throws -> Bool {
        try row(sql, arguments) != nil
    }

    func integer(_ sql: String, _ arguments: Arguments = []) throws -> Int64 {
        try Int64.fetchOne(cachedStatement(sql: sql), arguments: arguments.checked()) ?? 0
    }

    func texts(_ sql: String, _ arguments: Arguments = []) throws -> [String] {
        try String.fetchAll(cachedStatement(sql: sql), arguments: arguments.checked())
    }
}

/// Reads a row from left to right, in the order of the select list beside its decoder: a look-up by name is a comparison of
/// strings per column.
struct Columns {
    private let row: Row
    private var index: Int

    /// - Parameter index: of the first column to read.
    init(_ row: Row, from index: Int = 0) {
        self.row = row
        self.index = index
    }

    mutating func text() -> String { row[take()] }
    mutating func optionalText() -> String? { row[take()] }
    mutating func integer() -> Int { row[take()] }
    mutating func int64() -> Int64 { row[take()] }
    mutating func optionalInt64() -> Int64? { row[take()] }
    mutating func flag() -> Bool { row[take()] }
    mutating func optionalFlag() -> Bool? { row[take()] }
    mutating func data() -> Data { row[take()] }
    mutating func bytes() -> [UInt8] { [UInt8](data()) }
    mutating func optionalBytes() -> [UInt8]? { (row[take()] as Data?).map { [UInt8]($0) } }
    /// A key id and what is sealed under it, in this order.
    mutating func sealed() -> SealedValue { SealedValue(keyID: text(), bytes: bytes()) }
    mutating func optionalSealed() -> SealedValue? {
        guard let keyID = optionalText() else {
            _ = take()
            return nil
        }
        return SealedValue(keyID: keyID, bytes: bytes())
    }

    mutating func sid<Kind>() throws -> SID<Kind> {
        let text = text()
        guard let sid = SID<Kind>(text) else { throw StoreError.failed("column \(index) holds no \(Kind.prefix) SID") }
        return sid
    }

    mutating func optionalSID<Kind>() throws -> SID<Kind>? {
        guard let text = optionalText() else { return nil }
        guard let sid = SID<Kind>(text) else { throw StoreError.failed("column \(index) holds no \(Kind.prefix) SID") }
        return sid
    }

    private mutating func take() -> Int {
        defer { index += 1 }
        return index
    }
}

/// Bytes as a database value.
func blob(_ bytes: some Sequence<UInt8>) -> DatabaseValue { Data(bytes).databaseValue }

/// Turns rows, one more than asked for if there is a next page, into a page.
func page<Item: Sendable>(
    _ rows: [Row], _ request: PageRequest, cursor: (Item) -> String, _ make: (Row) throws -> Item
) throws -> Page<Item> {
    let items = try rows.prefix(request.clampedSize).map(make)
    return Page(items: items, next: rows.count > items.count ? items.last.map(cursor) : nil)
}

extension PageRequest {
    var clampedSize: Int { min(max(size, 1), 1000) }
}
