import Foundation
import TestSupport
import Testing

@Suite("As its user runs it", .timeLimit(.minutes(10)))
struct TourTests {
    @Test("the guided tour does what it says and exits 0")
    func tour() async throws {
        let output = try await BeckonProcess.output(of: ["demo"])
        print(output)
        #expect(output.contains("All 10 steps did what they say"))
        #expect(!output.contains("FAILED"))
    }
}
