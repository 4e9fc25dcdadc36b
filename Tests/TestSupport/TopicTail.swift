import ChallengeModel
public import KafkaClient
public import Logging
import Synchronization
import Wire

/// Reads whole topics from their beginning and keeps every record, for tests that count what happened.
public final class TopicTail: Sendable {
    private let consumer: KafkaConsumer
    private struct Kept {
        var records: [String: [ConsumedRecord]] = [:]
        /// When each was read here, by partition and offset, epoch milliseconds.
        var readAtMs: [TopicPartition: [Int64: Int64]] = [:]
    }

    private let kept = Mutex(Kept())

    public init(kafka: KafkaConfiguration, topics: [String], logger: Logger) throws {
        consumer = try KafkaConsumer(configuration: kafka, following: topics, logger: logger)
    }

    /// Follows until cancelled.
    public func run() async throws {
        for await event in consumer.events {
            guard case .assigned(let assignment) = event else { continue }
            let starts = Dictionary(uniqueKeysWithValues: assignment.partitions.map { ($0, StartOffset.beginning) })
            let readers = try await assignment.accept(from: starts)
            await withDiscardingTaskGroup { group in
                for reader in readers.values {
                    group.addTask {
                        while let items = await reader.next(max: 1000) {
                            let nowMs = Timestamp.nowMs()
                            self.kept.withLock { kept in
                                for case .record(let record) in items {
                                    kept.records[record.topicPartition.topic, default: []].append(record)
                                    kept.readAtMs[record.topicPartition, default: [:]][record.offset] = nowMs
                                }
                            }
                        }
                    }
                }
            }
            if Task.isCancelled { break }
        }
        await consumer.close(deadline: .seconds(5))
    }

    public func records(of topic: String) -> [ConsumedRecord] { kept.withLock { $0.records[topic] ?? [] } }

    public func count(of topic: String) -> Int { kept.withLock { $0.records[topic]?.count ?? 0 } }

    /// When a record was on the log for certain, epoch milliseconds: when it was read from there. Its own time stamp
    /// says when its writer handed it to its producer, which on a busy machine is long before.
    public func appendedByMs(_ record: ConsumedRecord) -> Int64 {
        kept.withLock { $0.readAtMs[record.topicPartition]?[record.offset] } ?? .max
    }

    /// Runs the tail beside `body` and ends it afterwards.
    public static func following<Result: Sendable>(
        _ topics: [String], kafka: KafkaConfiguration, logger: Logger,
        _ body: @Sendable (TopicTail) async throws -> Result
    ) async throws -> Result {
        let tail = try TopicTail(kafka: kafka, topics: topics, logger: logger)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await tail.run() }
            let result = try await body(tail)
            group.cancelAll()
            return result
        }
    }
}
