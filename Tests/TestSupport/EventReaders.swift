public import ChallengeModel
import Foundation
public import KafkaClient
import Wire

/// Readers of topic `events` that nobody here wrote, in Python: `Tests/EventReaders`.
public enum EventReaders {
    /// What `check.py` found.
    public struct Report: Decodable, Sendable {
        public let checked: Int
        public let types: [String]
        public let problems: [String]
    }

    /// Nil: PyPI cannot be reached.
    /// - Parameters:
    ///   - records: each source's in the order in which they were written.
    ///   - keys: the keys that a Producer publishes.
    ///   - types: each must be among the records.
    public static func check(
        _ records: [ProducerRecord], keys: EventSigner, types: [EventType]
    ) async throws -> Report? {
        let described = records.map { record in
            JSONValue.object([
                ("key", .string(Base64.encode(record.key))), ("value", .string(Base64.encode(record.value))),
                (
                    "headers",
                    .object(record.headers.map { ($0.name, .string(String(decoding: $0.value, as: UTF8.self))) })
                ),
            ])
        }
        let task = JSONValue.object([
            ("records", .array(described)), ("keys", keys.keySet),
            ("types", .array(types.map { .string($0.rawValue) })),
        ])
        let (status, output) = try await run(["check"], input: task.bytes)
        if status == 77 { return nil }
        guard status == 0 else { throw BeckonProcess.Failure(description: output) }
        return try JSONDecoder().decode(Report.self, from: Data(output.utf8))
    }

    /// Runs `examples/check-events.py` on records of a topic.
    /// - Returns: its status and its lines; 77: PyPI cannot be reached.
    public static func example(_ records: [ConsumedRecord], apiURL: String) async throws -> (Int32, [String]) {
        // As kcat prints them.
        let lines = records.map { record in
            JSONValue.object([
                ("topic", .string(record.topicPartition.topic)),
                ("partition", .integer(Int64(record.topicPartition.partition))), ("offset", .integer(record.offset)),
                (
                    "headers",
                    .array(
                        record.headers.flatMap {
                            [.string($0.name), .string(String(decoding: $0.value, as: UTF8.self))]
                        })
                ),
                ("key", .string(String(decoding: record.key, as: UTF8.self))),
                ("payload", .string(String(decoding: record.value, as: UTF8.self))),
            ]).text + "\n"
        }
        let (status, output) = try await run(["example", apiURL], input: Array(lines.joined().utf8))
        return (status, output.split(separator: "\n").map(String.init))
    }

    /// Off the cooperative threads.
    private static func run(_ arguments: [String], input: [UInt8]) async throws -> (Int32, String) {
        let file = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).json")
        try Data(input).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let run = try await ToolRun.of("Tests/EventReaders/run", arguments, input: file)
        return (run.status, run.output)
    }
}
