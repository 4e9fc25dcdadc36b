import Challenges
import Crypto
import Foundation
import GRDBSQLite

/// Rows in the one form that both sides are compared in, which is also the form they travel in: PostgreSQL's binary
/// COPY (`doc` COPY, "Binary Format"). A row is the number of its fields, and for each field its length and bytes; -1
/// stands for NULL. Integers are big-endian, 2 or 8 bytes by the target's column.
struct CopiedRows: Sendable {
    private(set) var count = 0
    private(set) var bytes: [UInt8] = []
    /// The key of the last row, as fields; empty: there is no row.
    private(set) var last: [UInt8] = []
    /// There are no rows behind these.
    var isLast = false

    static let signature: [UInt8] = Array("PGCOPY\n".utf8) + [0xff, 0x0d, 0x0a, 0x00] + [UInt8](repeating: 0, count: 8)
    static let trailer: [UInt8] = [0xff, 0xff]

    /// Appends the row that `statement` stands at.
    /// - Parameter key: where the key's columns are.
    mutating func append(_ statement: OpaquePointer, _ table: String, _ columns: [CopiedColumn], key: [Int]) throws {
        Self.append(Int16(columns.count), to: &bytes)
        for (index, column) in columns.enumerated() {
            try Self.appendField(statement, Int32(index), table, column, to: &bytes)
        }
        count += 1
        last.removeAll(keepingCapacity: true)
        for index in key { try Self.appendField(statement, Int32(index), table, columns[index], to: &last) }
    }

    mutating func removeAll() {
        count = 0
        bytes.removeAll(keepingCapacity: true)
        last.removeAll(keepingCapacity: true)
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    private static func appendField(
        _ statement: OpaquePointer, _ index: Int32, _ table: String, _ column: CopiedColumn, to bytes: inout [UInt8]
    ) throws {
        func refusal(_ expected: String) -> StoreCopyError {
            .failed("the source's table \(table): expected \(expected) in column \(column.name)")
        }
        switch sqlite3_column_type(statement, index) {
        case SQLITE_NULL: append(Int32(-1), to: &bytes)
        case SQLITE_INTEGER:
            let value = sqlite3_column_int64(statement, index)
            switch column.kind {
            case .long:
                append(Int32(8), to: &bytes)
                append(value, to: &bytes)
            case .short:
                guard let short = Int16(exactly: value) else { throw refusal("a number of 16 bits") }
                append(Int32(2), to: &bytes)
                append(short, to: &bytes)
            case .text, .blob: throw refusal("\(column.kind)")
            }
        case SQLITE_TEXT, SQLITE_BLOB:
            let isText = sqlite3_column_type(statement, index) == SQLITE_TEXT
            guard column.kind == (isText ? .text : .blob) else { throw refusal("\(column.kind)") }
            let start =
                isText
                ? UnsafeRawPointer(sqlite3_column_text(statement, index)) : sqlite3_column_blob(statement, index)
            let field = UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, index)))
            if isText, let start, memchr(start, 0, field.count) != nil {
                throw refusal("a text without U+0000, which PostgreSQL does not take,")
            }
            append(Int32(field.count), to: &bytes)
            bytes.append(contentsOf: field)
        default: throw refusal("\(column.kind)")
        }
    }

    /// A key as ``last`` gives it, to be compared with.
    static func values(_ key: [UInt8], _ columns: [CopiedColumn]) -> [SQLValue]? {
        var values: [SQLValue] = []
        var rest = key[...]
        for column in columns {
            guard rest.count >= 4 else { return nil }
            let length = Int(rest.prefix(4).reduce(Int32(0)) { $0 << 8 | Int32($1) })
            rest = rest.dropFirst(4)
            guard length >= 0, rest.count >= length else { return nil }
            let field = rest.prefix(length)
            rest = rest.dropFirst(length)
            switch column.kind {
            case .long, .short:
                guard let first = field.first else { return nil }
                let sign = Int64(Int8(bitPattern: first))
                values.append(.integer(field.dropFirst().reduce(sign) { $0 << 8 | Int64($1) }))
            case .text: values.append(.text(String(decoding: field, as: UTF8.self)))
            case .blob: values.append(.blob(Array(field)))
            }
        }
        return rest.isEmpty ? values : nil
    }
}

/// How many rows a table has, and a checksum over them in no order: the sum of the first 128 bits of each row's
/// SHA-256.
struct RowSum: Sendable, Hashable, CustomStringConvertible {
    private(set) var rows = 0
    private var sum: UInt128 = 0

    mutating func add(_ row: UnsafeRawBufferPointer) {
        rows += 1
        SHA256.hash(data: row).withUnsafeBytes { hash in
            sum &+= UInt128(bigEndian: hash.loadUnaligned(as: UInt128.self))
        }
    }

    /// The checksum: 32 hexadecimal digits.
    var description: String {
        let digits = String(sum, radix: 16)
        return String(repeating: "0", count: 32 - digits.count) + digits
    }
}

/// Finds the rows in what the server sends, which may cut them anywhere.
struct CopiedRowParser {
    private var rest: [UInt8] = []
    private var isBehindSignature = false
    /// The server has said that there are no more.
    private(set) var isComplete = false

    /// - Throws: ``StoreError/failed(_:)`` for anything but binary COPY.
    mutating func read(_ bytes: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) -> Void) throws {
        // Rows come whole, one per message, but for the first behind the signature.
        rest.append(contentsOf: bytes)
        let used = try rest.withUnsafeBytes { try parse($0, take) }
        rest.removeFirst(used)
    }

    /// - Returns: the bytes that are done.
    private mutating func parse(
        _ bytes: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) -> Void
    ) throws -> Int {
        var start = 0
        if !isBehindSignature {
            let signature = CopiedRows.signature
            guard bytes.count >= signature.count else { return 0 }
            guard bytes.prefix(signature.count).elementsEqual(signature) else {
                throw StoreError.failed("the answer to COPY is not in PostgreSQL's binary form")
            }
            isBehindSignature = true
            start = signature.count
        }
        func number<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number? {
            guard offset + MemoryLayout<Number>.size <= bytes.count else { return nil }
            return Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
        }
        while !isComplete, let fields = number(Int16.self, at: start) {
            if fields < 0 {
                isComplete = true
                return start + 2
            }
            var end = start + 2
            for _ in 0..<fields {
                guard let length = number(Int32.self, at: end) else { return start }
                end += 4 + max(0, Int(length))
            }
            guard end <= bytes.count else { return start }
            take(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            start = end
        }
        return start
    }
}
