import Foundation
import Logging
import Synchronization
import Testing

@testable import ServiceSupport

@Suite("A log line is one line")
struct EscapingLogHandlerTests {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    /// Writes as swift-log's handler for streams does.
    private struct Keeping: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
            let text = ([event.message.description] + all.map { "\($0.key)=\($0.value)" }).joined(separator: " ")
            lines.all.withLock { $0.append(text) }
        }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
    }

    private struct Foreign: CustomStringConvertible { let description: String }

    @Test("whatever comes from outside: key, error, nested metadata, the logger's own metadata, the message")
    func escapes() {
        let lines = Lines()
        var logger = Logger(label: "t") { _ in EscapingLogHandler(Keeping(lines: lines)) }
        let evil = "k\r\n2026-01-01T00:00:00 info beckon: ready\u{1b}[2J\u{85}\u{2028}\u{202e}\0"
        logger[metadataKey: "own"] = "\(evil)"
        logger.error(
            "a record \(evil)",
            metadata: [
                "key": "\(evil)", "list": [.string(evil)],
                "nested": ["one": .stringConvertible(Foreign(description: evil))],
            ])
        let line = lines.all.withLock { $0.joined() }
        let unwanted = line.unicodeScalars.filter {
            $0.properties.generalCategory == .control || $0.properties.generalCategory == .lineSeparator
                || $0.properties.generalCategory == .format
        }
        #expect(unwanted.isEmpty, "\(unwanted)")
        #expect(
            line.contains(#"key=k\r\n2026-01-01T00:00:00 info beckon: ready\u{1b}[2J\u{85}\u{2028}\u{202e}\u{0}"#),
            "\(line)")
        #expect(line.contains(#"own=k\r\n"#) && line.contains(#"a record k\r\n"#))
    }

    @Test("what is plain stays as it is, and what is endless is cut")
    func plain() {
        #expect(
            EscapingLogHandler.escaped("Zoë said „hello“ to 東京 at C:\\temp") == "Zoë said „hello“ to 東京 at C:\\temp")
        let long = EscapingLogHandler.escaped(String(repeating: "x", count: 1_000_000))
        #expect(long.hasSuffix("… (996000 more)") && long.utf8.count < 4100)
    }

    @Test("every role logs through it")
    func roles() throws {
        // A handler made anywhere else would be past it: the only place that makes one is RoleContext.
        let sources = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Sources").standardized
        let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        var places: [String] = []
        for case let file as URL in files where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for line in text.split(separator: "\n")
            where line.contains("StreamLogHandler.") || line.contains("LoggingSystem.bootstrap") {
                places.append(line.trimmingCharacters(in: .whitespaces))
            }
        }
        #expect(places.allSatisfy { $0.contains("EscapingLogHandler(") } && !places.isEmpty, "\(places)")
    }
}
