import Foundation
import TestSupport
import Testing

/// The console as people use it. What they do stands in `Tests/Examples/console.py`.
@Suite("The console in a browser", .timeLimit(.minutes(10)))
struct ConsolePagesTests {
    @Test("phones ring and are answered, the funnel moves, roles, other sites, keyboard, names, contrast, policy")
    func browser() async throws {
        let run = try await ToolRun.of(
            "/usr/bin/env", ["python3", "Tests/Examples/console.py"],
            environment: ["BECKON_BINARY": BeckonProcess.executable.path, "PYTHONDONTWRITEBYTECODE": "1"])
        if run.status == 77 { try Test.cancel("\(run.output.split(separator: "\n").last ?? "skipped")") }
        #expect(run.status == 0, "\(run.output)")
    }
}
