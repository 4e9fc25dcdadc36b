import Challenges

/// A value that a statement is run with. A flag is the integer 0 or 1, on every database.
enum SQLValue: Hashable, Sendable {
    case null
    case integer(Int64)
    case text(String)
    case blob([UInt8])
}

/// What a statement is run with: numbers, blobs, and texts without U+0000.
///
/// U+0000 ends a text in databases: SQLite would cut it off, so that two texts become one row, and PostgreSQL refuses
/// it.
struct Arguments: ExpressibleByArrayLiteral {
    private var values: [SQLValue]
    private var holdsNul: Bool

    init(arrayLiteral elements: (any SQLArgument)?...) {
        values = elements.map { $0?.sqlValue ?? .null }
        holdsNul = values.contains { value in
            if case .text(let text) = value { text.utf8.contains(0) } else { false }
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
    func checked() throws(StoreError) -> [SQLValue] {
        guard !holdsNul else { throw .nulInText }
        return values
    }
}

/// What can stand in a list of arguments.
protocol SQLArgument {
    var sqlValue: SQLValue { get }
}

extension SQLValue: SQLArgument {
    var sqlValue: SQLValue { self }
}

extension String: SQLArgument {
    var sqlValue: SQLValue { .text(self) }
}

extension Int64: SQLArgument {
    var sqlValue: SQLValue { .integer(self) }
}

extension Int: SQLArgument {
    var sqlValue: SQLValue { .integer(Int64(self)) }
}

extension Bool: SQLArgument {
    var sqlValue: SQLValue { .integer(self ? 1 : 0) }
}

/// Bytes as an argument.
func blob(_ bytes: some Sequence<UInt8>) -> SQLValue { .blob(Array(bytes)) }
