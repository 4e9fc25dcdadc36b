import Foundation
import TestSupport
import Testing

/// `scripts/follow` runs the shell blocks of pages and compares their output with the pages.
@Suite("Followed pages", .timeLimit(.minutes(10)))
struct FollowedPagesTests {
    private func follow(_ program: String, _ arguments: [String] = []) async throws -> ToolRun {
        try await ToolRun.of(program, arguments, environment: ["BECKON_BINARY": BeckonProcess.executable.path])
    }

    @Test("docs/tutorial.md, followed literally, prints what it shows")
    func tutorial() async throws {
        let run = try await follow("scripts/tutorial")
        #expect(run.status == 0, "\(run.output)")
    }

    @Test("the how-to pages, the security page and the production checklist print what they show")
    func pages() async throws {
        let howTo = try FileManager.default.contentsOfDirectory(atPath: ToolRun.root.appending(path: "docs/howto").path)
            .filter { $0.hasSuffix(".md") }.sorted().map { "docs/howto/\($0)" }
        #expect(howTo.count >= 8)
        let run = try await follow(
            "scripts/follow",
            ["--dev", "--deadline", "480", "docs/security.md", "docs/production-checklist.md"]
                + howTo)
        #expect(run.status == 0, "\(run.output)")
        // Which blocks were not run, and why.
        for line in run.output.split(separator: "\n") where line.hasPrefix("not run: ") { print(line) }
    }

    /// A page that is not right, and what the follower says about it.
    private static let wrongPages = [
        ("```sh\necho one\n```\n\n```text\ntwo\n```\n", "but the page shows"),
        ("```sh\necho one\n```\n\n```text\none\ntwo\n```\n", "but the page shows"),
        ("```sh\necho one\nfalse\n```\n", "ended with 1"),
        ("```sh\nexit 0\n```\n", "ended the shell"),
        ("```sh\necho $unknown_variable\n```\n", "ended the shell"),
        ("```sh\necho one\n", "has no end"),
    ]

    @Test("a page whose block fails or prints something else is refused", arguments: wrongPages)
    func wrong(page: String, message: String) async throws {
        let run = try await withPage(page) { try await follow("scripts/follow", [$0]) }
        #expect(run.status == 1)
        #expect(run.output.contains(message), "\(run.output)")
    }

    @Test("a page whose block hangs is refused at the deadline")
    func hanging() async throws {
        let run = try await withPage("```sh\nsleep 600\n```\n") {
            try await follow("scripts/follow", ["--deadline", "2", $0])
        }
        #expect(run.status == 1)
        #expect(run.output.contains("did not end in time"), "\(run.output)")
    }

    @Test("… stands for any text in a line, and as a line of its own for any lines; a marked block is not run")
    func wildcards() async throws {
        let page = """
            ```sh
            printf 'a 17\\nb\\nc\\nd\\n'
            ```

            ```text
            a …
            …
            d
            ```

            <!-- not run: it would fail -->
            ```sh
            false
            ```

            """
        let run = try await withPage(page) { try await follow("scripts/follow", [$0]) }
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("page.md:12: it would fail"))
        #expect(run.output.contains("1 shell blocks do what they say; 1 are not run"))
    }

    @Test("what a page starts is ended with the page")
    func ends() async throws {
        let run = try await withPage("```sh\nsleep 600 &\necho $!\nfalse\n```\n") {
            try await follow("scripts/follow", [$0])
        }
        let printed = run.output.split(separator: "\n").compactMap { Int32($0) }
        let started = try #require(printed.first, "\(run.output)")
        #expect(kill(started, 0) == -1)
    }

    private func withPage<Result>(_ text: String, _ body: (String) async throws -> Result) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let page = folder.appending(path: "page.md")
        try text.write(to: page, atomically: true, encoding: .utf8)
        return try await body(page.path)
    }
}
