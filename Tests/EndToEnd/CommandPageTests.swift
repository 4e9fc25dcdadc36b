import Foundation
import TestSupport
import Testing
import Wire

/// docs/cli.md has every command and every option that the executable has, and no other.
@Suite("The page of commands is documented", .timeLimit(.minutes(5)))
struct CommandPageTests {
    private static let page = ToolRun.root.appending(path: "docs/cli.md")
    private static let mark = "<!-- From here on, the tests write this page: BECKON_WRITE_DOCS=1. -->\n"

    /// A command and its own arguments.
    private struct Command {
        let path: [String]
        let tree: JSONValue

        /// What the page says of it.
        var section: String {
            var lines = ["## `\(path.joined(separator: " "))`", "", tree["abstract"]?.stringValue ?? ""]
            if let discussion = tree["discussion"]?.stringValue, !discussion.isEmpty {
                lines += ["", "```text", discussion, "```"]
            }
            let rows = (tree["arguments"]?.elements ?? []).compactMap(Self.row)
            if !rows.isEmpty { lines += ["", "| argument | meaning | default |", "|---|---|---|"] + rows }
            return lines.joined(separator: "\n") + "\n"
        }

        private static func row(_ argument: JSONValue) -> String? {
            guard argument["shouldDisplay"] == .boolean(true) else { return nil }
            let names = (argument["names"]?.elements ?? []).compactMap { name in
                name["name"]?.stringValue.map { (name["kind"]?.stringValue == "long" ? "--" : "-") + $0 }
            }
            guard !names.contains("--help"), !names.contains("--version") else { return nil }
            let value = argument["valueName"]?.stringValue ?? ""
            let shown =
                switch argument["kind"]?.stringValue {
                case "flag": names.joined(separator: ", ")
                case "option": names.joined(separator: ", ") + " <\(value)>"
                default: "<\(value)>"
                }
            let repeats = argument["isRepeating"] == .boolean(true) ? " …" : ""
            let text = (argument["abstract"]?.stringValue ?? "").replacing("\n", with: " ").replacing("|", with: "\\|")
            let values = argument["allValues"]?.elements?.compactMap(\.stringValue) ?? []
            let meaning = values.isEmpty ? text : text + " One of: " + values.joined(separator: ", ") + "."
            let standard = argument["defaultValue"]?.stringValue.map { "`\($0)`" } ?? ""
            return "| `\(shown)\(repeats)` | \(meaning) | \(standard) |"
        }
    }

    private static func commands(_ tree: JSONValue, under path: [String] = []) -> [Command] {
        let path = path + [tree["commandName"]?.stringValue ?? ""]
        let inner = (tree["subcommands"]?.elements ?? []).filter { $0["shouldDisplay"] == .boolean(true) }
        let own = inner.isEmpty ? [Command(path: path, tree: tree)] : []
        return own + inner.filter { $0["commandName"]?.stringValue != "help" }.flatMap { commands($0, under: path) }
    }

    private static func executable() async throws -> [Command] {
        let dump = try await BeckonProcess.output(of: ["--experimental-dump-help"])
        return commands(try #require(try JSONParser.parse(dump, .reply)["command"]))
    }

    @Test("docs/cli.md describes every command with its options; BECKON_WRITE_DOCS=1 writes it")
    func written() async throws {
        let text = try String(contentsOf: Self.page, encoding: .utf8)
        let parts = text.components(separatedBy: Self.mark)
        #expect(parts.count == 2, "the mark is missing")
        let expected = try await Self.executable().map(\.section).joined(separator: "\n")
        if ProcessInfo.processInfo.environment["BECKON_WRITE_DOCS"] != nil {
            try (parts[0] + Self.mark + "\n" + expected).write(to: Self.page, atomically: true, encoding: .utf8)
        } else {
            #expect(parts.last == "\n" + expected, "run this test with BECKON_WRITE_DOCS=1")
        }
    }

    @Test("every command in the text above the list, and in the other pages, exists")
    func existing() async throws {
        let paths = Set(
            try await Self.executable().flatMap { command in
                command.path.indices.map { command.path[...$0].joined(separator: " ") }
            })
        let folder = ToolRun.root.appending(path: "docs")
        let pages =
            try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "md" } + [ToolRun.root.appending(path: "README.md")]
        for page in pages {
            let text = try String(contentsOf: page, encoding: .utf8)
            for match in text.matches(of: #/`beckon ((?:[a-z]+(?:-[a-z]+)*)(?: [a-z]+(?:-[a-z]+)*)?)/#) {
                let words = match.1.split(separator: " ").map(String.init)
                // The second word is a command or an argument: `beckon completion bash`.
                let isKnown = paths.contains((["beckon"] + words).joined(separator: " "))
                let isOne = paths.contains("beckon \(words[0])")
                let hasInner = paths.contains { $0.hasPrefix("beckon \(words[0]) ") }
                #expect(
                    isKnown || isOne && (words.count == 1 || !hasInner),
                    "\(page.lastPathComponent): there is no command `\(match.output.0)`")
            }
        }
    }
}
