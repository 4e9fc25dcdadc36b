import Foundation
import KafkaClient
import Logging
import Synchronization
import Testing
import Wire

@testable import ServiceSupport

@Suite("Log lines: their form, level and context")
struct LogTests {
    private final class Lines: Sendable {
        let all = Mutex<[[UInt8]]>([])
        func json() throws -> [JSONValue] { try all.withLock { $0 }.map { try JSONParser.parse($0, .reply) } }
        var count: Int { all.withLock { $0.count } }
    }

    private func logger(_ lines: Lines, _ level: LogLevel = LogLevel(.info)) -> Logger {
        Logger(label: "test") { label in
            LevelledLogHandler(
                EscapingLogHandler(
                    JSONLogHandler(label: label, metadataProvider: LogContext.provider) { line in
                        lines.all.withLock { $0.append(line) }
                    }), level: level)
        }
    }

    @Test("a JSON line is one object with the metadata beside the message, whatever they contain")
    func json() throws {
        let lines = Lines()
        var logger = logger(lines)
        logger[metadataKey: "own"] = "1"
        logger.warning(
            "it \"broke\"\n",
            metadata: [
                "error": "a\u{0}b", "level": "mine", "list": ["x", .stringConvertible(2)], "nested": ["k": "v"],
            ])
        let bytes = try #require(lines.all.withLock { $0.first })
        #expect(bytes.last == UInt8(ascii: "\n") && bytes.count { $0 == UInt8(ascii: "\n") } == 1)
        let line = try #require(try lines.json().first)
        #expect(line["level"]?.stringValue == "warning" && line["role"]?.stringValue == "test")
        #expect(line["message"]?.stringValue == "it \"broke\"\\n" && line["own"]?.stringValue == "1")
        #expect(line["error"]?.stringValue == "a\\u{0}b" && line["level_"]?.stringValue == "mine")
        #expect(line["list"] == .array([.string("x"), .string("2")]))
        #expect(line["nested"]?["k"]?.stringValue == "v")
        #expect(line["time"]?.stringValue.flatMap { Timestamp.epochMs($0) } != nil)
        #expect(line.members.map { Set($0.map(\.name)).count == $0.count } == true)
    }

    @Test("the level is that of the process, and changes for loggers that exist already")
    func level() {
        let lines = Lines()
        let level = LogLevel(.info)
        let logger = logger(lines, level)
        var quiet = logger
        quiet.logLevel = .warning
        logger.debug("no")
        level.set(.debug)
        logger.debug("1")
        quiet.info("no: the logger's own level")
        level.set(.error)
        logger.warning("no")
        quiet.warning("no")
        logger.error("2")
        #expect(logger.logLevel == .error && quiet.logLevel == .error)
        level.configure(.info)
        quiet.warning("3")
        #expect(lines.count == 3)
    }

    @Test("a line within a task names its request and its trace")
    func context() async throws {
        let lines = Lines()
        let logger = logger(lines)
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        logger.info("outside")
        await LogContext.$current.withValue(LogContext(requestID: "RQ1", trace: trace + " a=1")) {
            logger.info("inside")
            await withTaskGroup(of: Void.self) { group in group.addTask { logger.info("child") } }
        }
        let record = ConsumedRecord(
            topicPartition: TopicPartition(topic: "t", partition: 0), offset: 0, timestampMs: 0, key: [], value: [],
            headers: [RecordHeader("traceparent", trace)])
        LogContext.$current.withValue(LogContext(record)) { logger.info("record") }
        LogContext.$current.withValue(LogContext(trace: "nonsense\n")) { logger.info("no context") }
        let json = try lines.json()
        #expect(json.map { $0["request-id"]?.stringValue } == [nil, "RQ1", "RQ1", nil, nil])
        let id = "4bf92f3577b34da6a3ce929d0e0e4736"
        #expect(json.map { $0["trace-id"]?.stringValue } == [nil, id, id, id, nil])
    }

    @Test("an own entry of the same name wins; a text that is no context adds nothing")
    func metadata() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        #expect(Logger.Metadata.trace(trace, ["a": "b"]).count == 2)
        #expect(Logger.Metadata.trace(trace, ["trace-id": "mine"]) == ["trace-id": "mine"])
        #expect(Logger.Metadata.trace(nil, ["a": "b"]) == ["a": "b"])
        #expect(Logger.Metadata.trace("x", [:]).isEmpty)
    }

    @Test("the admin page changes the level, and the change is logged whatever the two levels are")
    func page() throws {
        let lines = Lines()
        let level = LogLevel(.error)
        let page = LogLevelPage(level: level, logger: logger(lines, level))
        #expect(page.show().json == #"{"level":"error","configured":"error"}"#)
        #expect(page.change(to: "debug").json == #"{"level":"debug","configured":"error"}"#)
        #expect(page.change(to: "critical").status == 200 && level.current == .critical)
        #expect(page.change(to: "error").status == 200)
        #expect(page.change(to: "loud").status == 400 && level.current == .error)
        let changes = try lines.json()
        #expect(changes.map { $0["to"]?.stringValue } == ["debug", "critical", "error"])
    }
}
