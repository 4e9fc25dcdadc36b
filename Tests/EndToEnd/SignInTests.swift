import Foundation
import TestSupport
import Testing

/// `examples/sign-in` as people use it. What they do stands in `Tests/Examples/sign_in.py`.
@Suite("The sign-in example in a browser", .timeLimit(.minutes(10)))
struct SignInTests {
    @Test("approval, denial, number, sent again, a code instead, undelivered; keyboard, names, contrast, policy")
    func browser() async throws {
        let run = try await ToolRun.of(
            "/usr/bin/env", ["python3", "Tests/Examples/sign_in.py"],
            environment: ["BECKON_BINARY": BeckonProcess.executable.path, "PYTHONDONTWRITEBYTECODE": "1"])
        if run.status == 77 { try Test.cancel("\(run.output.split(separator: "\n").last ?? "skipped")") }
        #expect(run.status == 0, "\(run.output)")
    }
}
