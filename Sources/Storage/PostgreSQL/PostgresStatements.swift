import CLibPQ

/// The statements that one connection has prepared. Bounded: what comes when it is full is parsed each time.
struct PostgresStatements {
    /// How a statement goes to the server.
    enum Use {
        case prepared(name: String)
        case prepare(name: String, sql: String, types: [Oid])
        case unnamed(sql: String)
    }

    private struct Variant {
        let name: String
        /// 0: NULL was given when it was prepared, and the type follows from the place.
        let types: [Oid]
    }

    private struct Statement {
        /// With `$1` in place of `?`.
        let sql: String
        var variants: [Variant] = []
    }

    static let bound = 600
    /// Others use the server's sessions too: a statement that was prepared in one transaction is unknown in the next.
    var sharesSessions = false
    private var statements: [String: Statement] = [:]
    private var prepared = 0
    private var names = 0

    mutating func use(_ sql: String, _ values: [PostgresValue]) -> Use {
        let statement = statements[sql]
        let known = statement?.variants.first { variant in
            zip(variant.types, values).allSatisfy { $1 == .null || $0 == $1.type }
        }
        if let known { return .prepared(name: known.name) }
        let text = statement?.sql ?? Self.numbered(sql)
        guard prepared < Self.bound, !sharesSessions else { return .unnamed(sql: text) }
        names += 1
        let variant = Variant(name: "b\(names)", types: values.map(\.type))
        statements[sql, default: Statement(sql: text)].variants.append(variant)
        prepared += 1
        return .prepare(name: variant.name, sql: text, types: variant.types)
    }

    /// The server has not prepared it.
    mutating func forget(_ name: String) {
        for (sql, statement) in statements where statement.variants.contains(where: { $0.name == name }) {
            statements[sql]?.variants.removeAll { $0.name == name }
            prepared -= 1
        }
    }

    /// The server knows none of them any more.
    mutating func forgetAll() {
        statements = [:]
        prepared = 0
    }

    /// `?` outside of texts becomes `$1`, `$2`, …
    static func numbered(_ sql: String) -> String {
        var numbered = ""
        var (count, isText) = (0, false)
        for character in sql {
            if character == "'" { isText.toggle() }
            if character == "?", !isText {
                count += 1
                numbered += "$\(count)"
            } else {
                numbered.append(character)
            }
        }
        return numbered
    }
}
