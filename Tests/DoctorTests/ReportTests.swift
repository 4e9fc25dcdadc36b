import Testing
import Wire

@testable import Doctor

@Suite("The report")
struct ReportTests {
    private func finding(_ severity: Severity) -> Finding {
        Finding(
            check: "kafka-port", mistake: "refused", severity: severity, saw: "h:1: refused", means: "nothing listens",
            mend: "open it")
    }

    private func report(_ verdicts: [(String, Verdict)]) -> Report {
        Report(verdicts.map { CheckResult(id: $0, title: "Title", verdict: $1, took: .milliseconds(12)) })
    }

    @Test("is aligned, says saw, means and do, and has a tick or another sign on each line of a check")
    func text() {
        let report = report([
            ("keys", .passed("store")), ("kafka-port", .found([finding(.failure)])), ("topics", .skipped("no way")),
        ])
        #expect(
            report.text(isColoured: false) == """
                ✓ keys        Title (store)
                ✗ kafka-port  Title
                              ✗ saw    h:1: refused
                                means  nothing listens
                                do     open it
                                see    docs/doctor.md#kafka-port
                – topics      Title (skipped: no way)
                """)
        #expect(report.summary == "1 failure, 1 passed, 1 skipped")
        #expect(report.text(isColoured: true).contains("\u{1B}[31m✗\u{1B}[0m kafka-port"))
    }

    @Test(
        "the exit status: no answer goes before findings, warnings count only when they are meant to",
        arguments: [
            ([], 0, 0), ([.warning], 0, 1), ([.failure], 1, 1), ([.unreachable], 3, 3),
            ([.failure, .unreachable, .warning], 3, 3),
        ] as [([Severity], Int32, Int32)])
    func status(severities: [Severity], normal: Int32, strict: Int32) {
        let report = report(severities.map { ("kafka-port", .found([finding($0)])) } + [("keys", .passed(""))])
        #expect(report.status(isStrict: false) == normal)
        #expect(report.status(isStrict: true) == strict)
    }

    @Test("as JSON it is one object with the same contents")
    func json() throws {
        let report = report([
            ("keys", .passed("store")), ("kafka-port", .found([finding(.warning)])), ("topics", .skipped("no way")),
        ])
        let tree = try JSONParser.parse(Array(report.json(isStrict: true).utf8), .reply)
        #expect(tree["status"]?.integerValue == 1)
        let checks = try #require(tree["checks"]?.elements)
        #expect(checks.map { $0["result"]?.stringValue } == ["passed", "found", "skipped"])
        #expect(checks[1]["findings"]?.elements?.first?["do"]?.stringValue == "open it")
        #expect(checks[2]["because"]?.stringValue == "no way")
        #expect(checks[0]["took_ms"]?.integerValue == 12)
    }

    @Test("what others have said is shown in one line without control characters")
    func line() {
        let mistake = Mistake("m", .failure, sees: "", means: "about <topic>", mend: "mend <topic> and <other>")
        let found = mistake.found("a\nb\u{1B}[31m\u{202E}c", ["topic": "t"])
        #expect(found.saw == "a b [31m c")
        #expect(found.means == "about t" && found.mend == "mend t and <other>")
    }
}
