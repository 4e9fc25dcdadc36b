import ChallengeModel
import Challenges

/// Reads a row from left to right, in the order of the select list beside its decoder: a look-up by name is a
/// comparison of strings per column.
struct Columns<Row: SQLRow> {
    private let row: Row
    private var index: Int

    /// - Parameter index: of the first column to read.
    init(_ row: Row, from index: Int = 0) {
        self.row = row
        self.index = index
    }

    mutating func text() -> String { row.text(take()) }
    mutating func optionalText() -> String? { row.optionalText(take()) }
    mutating func integer() -> Int { Int(row.int64(take())) }
    mutating func int64() -> Int64 { row.int64(take()) }
    mutating func optionalInt64() -> Int64? { row.optionalInt64(take()) }
    mutating func flag() -> Bool { row.int64(take()) != 0 }
    mutating func optionalFlag() -> Bool? { row.optionalInt64(take()).map { $0 != 0 } }
    mutating func bytes() -> [UInt8] { row.bytes(take()) }
    mutating func optionalBytes() -> [UInt8]? { row.optionalBytes(take()) }
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

/// Turns rows, one more than asked for if there is a next page, into a page.
func page<Row: SQLRow, Item: Sendable>(
    _ rows: [Row], _ request: PageRequest, cursor: (Item) -> String, _ make: (Row) throws -> Item
) throws -> Page<Item> {
    let items = try rows.prefix(request.clampedSize).map(make)
    return Page(items: items, next: rows.count > items.count ? items.last.map(cursor) : nil)
}

extension PageRequest {
    var clampedSize: Int { min(max(size, 1), 1000) }
}
