import Foundation
import TestSupport
import Testing

/// `Tests/Conformance/run`, a part at a time. Everything else about it stands there.
@Suite("Clients that nobody here wrote", .timeLimit(.minutes(5)), .serialized)
struct ConformanceTests {
    @Test("twilio-python and a phone in Python, every reply compared with the published description")
    func wire() async throws { try await run("wire") }

    @Test("generated requests: what is served is what docs/openapi.json says")
    func generated() async throws { try await run("generated") }

    @Test("the README's shell blocks do what they say")
    func readme() async throws { try await run("readme") }

    private func run(_ part: String) async throws {
        let run = try await ToolRun.of(
            "Tests/Conformance/run", [part], environment: ["BECKON_BINARY": BeckonProcess.executable.path])
        if run.status == 77 { try Test.cancel("\(run.output.split(separator: "\n").last ?? "skipped")") }
        #expect(run.status == 0, "\(run.output)")
        print(run.output.split(separator: "\n").suffix(6).joined(separator: "\n"))
    }
}
