import Foundation
import TestSupport
import Testing

/// `examples/sign-in` as people use it. What they do stands in `Tests/Examples/sign_in.py`.
@Suite("The sign-in example in a browser", .timeLimit(.minutes(10)))
struct SignInTests {
    @Test("approval, denial, number, sent again, a code instead, undelivered; keyboard, names, contrast, policy")
    func browser() async throws {
        let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Examples/sign_in.py")
        let (status, output) = try await Script.run(
            "/usr/bin/env", ["python3", script.standardized.path],
            environment: ["BECKON_BINARY": BeckonProcess.executable.path, "PYTHONDONTWRITEBYTECODE": "1"])
        if status == 77 { try Test.cancel("\(output.split(separator: "\n").last ?? "skipped")") }
        #expect(status == 0, "\(output)")
    }
}
