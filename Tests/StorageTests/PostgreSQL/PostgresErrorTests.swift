import Challenges
import TestSupport
import Testing

@testable import Storage

@Suite("PostgreSQL: what is done about an error")
struct PostgresErrorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let state: String?
        var origin = PostgresError.Origin.statement
        let remedy: String

        var testDescription: String { "\(state ?? "none"), \(origin)" }
    }

    static let rows: [Row] = [
        Row(state: "40001", remedy: "again"), Row(state: "40P01", remedy: "again"),
        Row(state: "23505", remedy: "again"),
        Row(state: "55P03", remedy: "againWhileTimeLasts"), Row(state: "57014", remedy: "refuse"),
        Row(state: "57P01", remedy: "reconnect"), Row(state: "57P02", remedy: "reconnect"),
        Row(state: "57P03", remedy: "reconnect"), Row(state: "57P05", remedy: "reconnect"),
        Row(state: "25P03", remedy: "reconnect"), Row(state: "25P04", remedy: "reconnect"),
        Row(state: "53300", remedy: "reconnect"), Row(state: "08006", remedy: "reconnect"),
        Row(state: nil, origin: .connection, remedy: "reconnect"),
        Row(state: nil, origin: .connect, remedy: "reconnect"),
        Row(state: "28P01", origin: .connect, remedy: "reconnect"), Row(state: nil, origin: .silence, remedy: "refuse"),
        Row(state: "25006", remedy: "leaveServer"), Row(state: "26000", remedy: "prepareAgain"),
        Row(state: "0A000", remedy: "prepareAgain"), Row(state: "53100", remedy: "fault"),
        Row(state: "53200", remedy: "fault"), Row(state: "58030", remedy: "fault"),
        Row(state: "XX001", remedy: "fault"),
        Row(state: "42703", remedy: "refuse"), Row(state: "22003", remedy: "refuse"),
        Row(state: "25P02", remedy: "refuse"),
    ]

    @Test("the table", arguments: rows)
    func table(_ row: Row) {
        let error = PostgresError(row.origin, state: row.state, "message")
        #expect("\(error.remedy)".prefix { $0 != "(" } == row.remedy)
    }

    @Test("the words of a wrong value are not repeated, because the value stands in them")
    func noValues() {
        let error = PostgresError(.statement, state: "22P02", "invalid input syntax for type bigint: \"secret\"")
        #expect(!error.description.contains("secret"))
    }

    @Test("a host that is read-only is a readiness fault of its own")
    func readOnly() {
        #expect(PostgresError(.connect, "db1:5432: session is read-only").fault.cause == .readOnly)
        #expect(PostgresError(.statement, state: "25006", "cannot execute INSERT").fault.cause == .readOnly)
        #expect(PostgresError(.connect, state: "57P03", "starting up").fault.cause == .unreachable)
    }

    @Test("a URL: several hosts, safe defaults, no password in its description")
    func settings() throws {
        let remote = try PostgresSettings(url: "postgresql://app:s3cret@db1,db2:6432/beckon?application_name=x")
        #expect(remote.targets.map(\.name) == ["db1:5432", "db2:6432"])
        #expect(remote.targets.allSatisfy { $0.parameters["sslmode"] == "verify-full" })
        #expect(remote.targets.allSatisfy { $0.parameters["target_session_attrs"] == "read-write" })
        #expect(remote.targets[0].parameters["application_name"] == "x")
        #expect(!"\(remote)".contains("s3cret") && !String(reflecting: remote).contains("s3cret"))
        var dumped = ""
        dump(remote, to: &dumped)
        #expect(!dumped.contains("s3cret"))
        for local in [
            "postgresql:///beckon", "postgresql://a@localhost/b", "postgresql://[::1]/b", "postgresql:///b?host=/run",
        ] {
            #expect(try PostgresSettings(url: local).targets[0].parameters["sslmode"] == nil, "\(local)")
        }
        let chosen = try PostgresSettings(
            url: "postgresql://db/b?sslmode=require&target_session_attrs=any", password: "p")
        #expect(chosen.targets[0].parameters["sslmode"] == "require")
        #expect(chosen.targets[0].parameters["target_session_attrs"] == "any")
        #expect(chosen.targets[0].parameters["password"] == "p")
        for wrong in ["mysql://x", "postgresql://a:pass@h:1,h2:2,h3/b?hostaddr=1.2.3.4", "postgresql://u:p%zz@h/b?x=y"]
        {
            let error = #expect(throws: StoreError.self) { try PostgresSettings(url: wrong) }
            #expect(!"\(String(describing: error))".contains("pass"), "\(wrong)")
        }
    }
}
