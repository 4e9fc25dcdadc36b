import CLibPQ
import Challenges

/// A parameter as it goes to the server: binary, with its type named.
enum PostgresValue: Hashable, Sendable {
    case null
    case integer(Int64)
    case text(String)
    case blob([UInt8])
    case integers([Int64])

    init(_ value: SQLValue) {
        switch value {
        case .null: self = .null
        case .integer(let value): self = .integer(value)
        case .text(let value): self = .text(value)
        case .blob(let value): self = .blob(value)
        }
    }

    /// The object id of the type, from PostgreSQL's `pg_type.dat`; 0: it follows from the place in the statement.
    var type: Oid {
        switch self {
        case .null: 0
        case .integer: 20
        case .text: 25
        case .blob: 17
        case .integers: 1016
        }
    }

    /// Texts hold no U+0000: ``Arguments/checked()`` sees to that.
    func append(to bytes: inout [UInt8]) {
        switch self {
        case .null: break
        case .integer(let value): bytes.append(bigEndian: value)
        case .text(let value): bytes.append(contentsOf: value.utf8)
        case .blob(let value): bytes.append(contentsOf: value)
        case .integers(let values):
            // `array_recv`: dimensions, whether there are NULLs, the elements' type, then the length and lower bound of
            // the one dimension; an element is its length and bytes.
            for word in values.isEmpty ? [0, 0, 20] : [1, 0, 20, Int32(values.count), 1] {
                bytes.append(bigEndian: word)
            }
            for value in values {
                bytes.append(bigEndian: Int32(8))
                bytes.append(bigEndian: value)
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }
}

/// What the server answered to one statement. Owns libpq's result.
final class PostgresResult {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) { self.pointer = pointer }

    deinit { PQclear(pointer) }

    var status: ExecStatusType { PQresultStatus(pointer) }
    var count: Int { Int(PQntuples(pointer)) }
    /// Rows that the statement inserted, changed or deleted.
    var changes: Int { Int(String(cString: PQcmdTuples(pointer))) ?? 0 }
    /// `COMMIT`, `ROLLBACK`, `INSERT 0 1`.
    var command: String { String(cString: PQcmdStatus(pointer)) }

    func field(_ code: Int32) -> String? { PQresultErrorField(pointer, code).map { String(cString: $0) } }

    func rows() -> [PostgresRow] { (0..<Int32(count)).map { PostgresRow(self, $0) } }
}

/// A row of a result in binary format. The schema sees to it that a column holds what is asked for; what else comes is
/// a fault of ours.
final class PostgresRow: SQLRow {
    private let result: PostgresResult
    private let row: Int32

    init(_ result: PostgresResult, _ row: Int32) {
        self.result = result
        self.row = row
    }

    func text(_ index: Int) -> String { String(decoding: value(index), as: UTF8.self) }
    func bytes(_ index: Int) -> [UInt8] { [UInt8](value(index)) }
    func optionalText(_ index: Int) -> String? { isNull(index) ? nil : text(index) }
    func optionalInt64(_ index: Int) -> Int64? { isNull(index) ? nil : int64(index) }
    func optionalBytes(_ index: Int) -> [UInt8]? { isNull(index) ? nil : bytes(index) }

    /// Of any integer type, boolean, or `numeric`, which a sum of `bigint` is.
    func int64(_ index: Int) -> Int64 {
        let bytes = value(index)
        if PQftype(result.pointer, Int32(index)) == 1700 { return Self.whole(numeric: bytes) }
        precondition([1, 2, 4, 8].contains(bytes.count), "column \(index) is no integer")
        // From the left, the sign with the first byte.
        return bytes.dropFirst().reduce(Int64(Int8(bitPattern: bytes[0]))) { $0 << 8 | Int64($1) }
    }

    private func isNull(_ index: Int) -> Bool { PQgetisnull(result.pointer, row, Int32(index)) != 0 }

    /// Lent while the result lives.
    private func value(_ index: Int) -> UnsafeRawBufferPointer {
        precondition(!isNull(index), "column \(index) is NULL")
        let start = PQgetvalue(result.pointer, row, Int32(index))
        return UnsafeRawBufferPointer(start: start, count: Int(PQgetlength(result.pointer, row, Int32(index))))
    }

    /// `numeric_send`: how many digits of base 10,000, the power of the first, the sign, the scale, the digits. The
    /// fraction is left out.
    private static func whole(numeric bytes: UnsafeRawBufferPointer) -> Int64 {
        func word(_ index: Int) -> Int16 {
            Int16(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 2, as: Int16.self))
        }
        let (digits, weight) = (Int(word(0)), Int(word(1)))
        var whole: Int64 = 0
        for place in 0..<max(0, weight + 1) { whole = whole * 10_000 + (place < digits ? Int64(word(4 + place)) : 0) }
        return word(2) == 0x4000 ? -whole : whole
    }
}
