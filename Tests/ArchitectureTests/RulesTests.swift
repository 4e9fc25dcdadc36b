import Foundation
import Testing

/// Rules stand in `Challenges`, statements in `Storage`. Compares the two with their sources.
@Suite("Rules stand above the store")
struct RulesTests {
    private struct Line: CustomStringConvertible {
        let file: String
        let number: Int
        let text: String
        var description: String { "\(file):\(number): \(text)" }
    }

    /// The code of a module's files, without comments.
    private func lines(of module: String) throws -> [Line] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/\(module)")
        let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
            .compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
        #expect(!files.isEmpty)
        return try files.flatMap { file in
            try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
                .enumerated().map { Line(file: file.lastPathComponent, number: $0 + 1, text: String($1)) }
                .filter { !$0.text.drop { $0 == " " }.hasPrefix("//") }
        }
    }

    @Test(
        "no file of a store makes a refusal, an event or an outbox record",
        arguments: [
            ".notFound(", ".conflict(", ".limit(", ".limited(", ".factorLimit(", ".accessTokenRefused",
            ".tokenReplayed",
            ".factorUnverified", ".codeRefused", ".noVerifiedFactor", ".factorRequired", ".loosened(",
            ".approvalRefused(", ".idempotencyConflict", ".alreadyResponded", ".alreadyExpired", ".requestClosed",
            "CloudEvent(", "EventType", "OutboxRecord(", "ChallengeLifecycle", "Decision", "StorePolicy.limit",
        ])
    func storage(word: String) throws {
        let found = try lines(of: "Storage").filter { $0.text.contains(word) }
        #expect(found.isEmpty, "\(found)")
    }

    @Test(
        "no file of rules knows a database, HTTP or Kafka",
        arguments: ["GRDB", "libpq", "SQLite", "SELECT ", "INSERT ", "UPDATE ", "HTTP", "Kafka", "statusCode"])
    func challenges(word: String) throws {
        let found = try lines(of: "Challenges").filter { $0.text.contains(word) }
        #expect(found.isEmpty, "\(found)")
    }
}
