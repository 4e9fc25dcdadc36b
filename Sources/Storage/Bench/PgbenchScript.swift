import ChallengeModel
public import Challenges
import Foundation
import Synchronization
import Wire

/// What one creation sends to PostgreSQL, as a script for `pgbench`: the same statements in the same number of round
/// trips, each with another person and another challenge. A measurement of the Producer can then be compared with what
/// the server gives to a client that does nothing else.
public struct PgbenchScript: Sendable {
    /// For `pgbench -M prepared -f`.
    public let text: String
    /// Arguments that stay the same, for `pgbench -D name=value`.
    public let variables: [(name: String, value: String)]
    public let roundTrips: Int
    public let statements: Int
    /// The postmaster; nil: it is on another machine.
    public let postmaster: Int32?

    private final class Journal: Sendable {
        private let sent = Mutex<[[(sql: String, values: [PostgresValue])]]>([])

        func note(_ statements: [(sql: String, values: [PostgresValue])]) { sent.withLock { $0.append(statements) } }
        var roundTrips: [[(sql: String, values: [PostgresValue])]] { sent.withLock { $0 } }
    }

    /// Records a creation for person 0 of a store that ``StoreFill`` has filled.
    /// - Parameter new: that person's, as the load asks for it.
    public static func recording(
        _ new: NewChallenge, of fill: StoreFill, in store: ChallengeStore, nowMs: Int64
    ) async throws -> PgbenchScript {
        guard let engine = store.engine as? PostgresEngine, engine.pool.settings.connections == 1 else {
            throw StoreError.failed("expected a PostgreSQL store with one connection")
        }
        let journal = Journal()
        let pid = try await engine.run(.read) { connection in
            let pid = try connection.rows("SELECT pg_backend_pid()::bigint", [PostgresValue]())[0].int64(0)
            connection.recorder = journal.note
            return pid
        }
        let challenge = try await store.createChallenge(new, nowMs: nowMs).0.sid.rawValue
        try await engine.run(.read) { connection in
            connection.recorder = nil
            _ = try connection.rows("SELECT 1", [PostgresValue]())
        }
        return PgbenchScript(
            journal.roundTrips, challenge: challenge, people: fill.people, postmaster: parent(of: Int32(pid)))
    }

    private init(
        _ sent: [[(sql: String, values: [PostgresValue])]], challenge: String, people: Int, postmaster: Int32?
    ) {
        // As StoreFill names them.
        let changing = [
            challenge: """
            ('YC03' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') \
            || lpad(to_hex(:random::bigint), 18, '0'))
            """,
            StoreFill.identity(0): "('person-' || (1000000 + :person))",
            StoreFill.factor(0): "('YF03' || lpad(to_hex(:person::bigint), 30, '0'))",
            "YE" + Hexadecimal.encode(UInt64(0), digits: 32): "('YE' || lpad(to_hex(:person::bigint), 32, '0'))",
        ]
        var text = """
            \\set person random(0, \(people - 1))
            \\set random random(1, 9000000000000000000)
            \\set lane random(0, \(OutboxLanes.count - 1))

            """
        var variables: [(name: String, value: String)] = []
        for statements in sent {
            text += "\\startpipeline\n"
            for (sql, values) in statements {
                let terms = values.enumerated().map { index, value -> String in
                    let constant: String
                    switch value {
                    case .null: return "NULL"
                    case .integer where index == 0 && sql.hasPrefix("INSERT INTO outbox "): return ":lane"
                    // An empty variable is refused.
                    case .text(""): return "''"
                    case .text(let text):
                        if let term = changing[text] { return term }
                        constant = text
                    case .integer(let number): constant = String(number)
                    case .blob(let bytes): constant = "\\x" + Hexadecimal.encode(bytes)
                    case .integers(let numbers): constant = "{" + numbers.map(String.init).joined(separator: ",") + "}"
                    }
                    variables.append(("v\(variables.count)", constant))
                    return ":v\(variables.count - 1)"
                }
                text += Self.filled(sql, terms) + ";\n"
            }
            text += "\\endpipeline\n"
        }
        self.text = text
        self.variables = variables
        self.postmaster = postmaster
        (roundTrips, statements) = (sent.count, sent.reduce(0) { $0 + $1.count })
    }

    /// Terms in place of `?`.
    private static func filled(_ sql: String, _ terms: [String]) -> String {
        var rest = terms[...]
        var isText = false
        return sql.reduce(into: "") { filled, character in
            if character == "'" { isText.toggle() }
            if character == "?", !isText, let term = rest.popFirst() {
                filled += term
            } else {
                filled.append(character)
            }
        }
    }

    /// A session's: the server, when it runs on this machine.
    private static func parent(of pid: Int32) -> Int32? {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), stat.contains("(postgres)"),
            let end = stat.lastIndex(of: ")")
        else { return nil }
        let fields = stat[end...].split(separator: " ")
        return fields.count > 2 ? Int32(fields[2]) : nil
    }
}
