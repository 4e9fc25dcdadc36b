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

    @Test("docs/architecture.md names only files that exist")
    func files() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let files =
            try ["Sources", "Tests"].flatMap { folder in
                try #require(FileManager.default.enumerator(atPath: root.appending(path: folder).path()))
                    .compactMap { $0 as? String }.map { "/\(folder)/\($0)" }
            } + ["/Package.swift"]
        let page = try String(contentsOf: root.appending(path: "docs/architecture.md"), encoding: .utf8)
        let names = Set(page.matches(of: /`([\w+\/-]+\.swift)`/).map { String($0.1) })
        #expect(names.count > 30)
        let missing = names.filter { name in !files.contains { $0.hasSuffix("/" + name) } }
        #expect(missing.sorted() == [])
    }

    @Test(
        "no file of a store makes a refusal, an event or an outbox record",
        arguments: [
            ".notFound(", ".conflict(", ".limit(", ".limited(", ".factorLimit(", ".accessTokenRefused",
            ".tokenReplayed", ".factorUnverified", ".codeRefused", ".noCodeFactor", ".noVerifiedFactor",
            ".factorRequired", ".loosened(", ".approvalRefused(", ".noPush(", ".idempotencyConflict",
            "StoreError.repeated", ".alreadyResponded", ".alreadyExpired", ".requestClosed", "CloudEvent(", "EventType",
            "OutboxRecord(", "ChallengeLifecycle", "Decision", "YF02",
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
