public import KafkaClient
public import Logging
import Synchronization

/// Queries the end offsets of partitions, for many partition numbers at once. At most one query per number is in
/// progress. A number that does not answer delays no other number.
public final class EndOffsets: Sendable {
    /// The answer about one partition number.
    public struct Answer: Sendable {
        public let number: Int32
        /// The end of each requested partition, and possibly of others; nil: Kafka did not answer within the deadline.
        public let ends: [TopicPartition: Int64]?
        /// A time before the query was sent. Everything that was acknowledged before this time is below the ends.
        public let askedAtMs: Int64
    }

    private let consumer: KafkaConsumer
    private let logger: Logger
    private let steadyMs: @Sendable () -> Int64
    private let asking = Mutex(Asking())

    /// - Parameter steadyMs: milliseconds of a clock that never goes back.
    public init(consumer: KafkaConsumer, logger: Logger, steadyMs: @escaping @Sendable () -> Int64) {
        self.consumer = consumer
        self.logger = logger
        self.steadyMs = steadyMs
    }

    /// The queries to send now. Pass each to ``ask(_:together:alone:partitions:answered:)``; the calls may run
    /// concurrently. Numbers that are already being queried are left out.
    public func questions(for numbers: [Int32]) -> [[Int32]] { asking.withLock { $0.questions(for: numbers) } }

    /// Sends one query about all numbers. If it fails, sends one query per number.
    /// - Parameters:
    ///   - question: a query from ``questions(for:)``.
    ///   - together: deadline of the query about all numbers.
    ///   - alone: the deadline of a query about one number.
    ///   - partitions: returns the partitions to query for a number.
    ///   - answered: called once per number.
    public func ask(
        _ question: [Int32], together: Duration, alone: Duration,
        partitions: @Sendable @escaping (Int32) -> [TopicPartition], answered: @Sendable @escaping (Answer) -> Void
    ) async {
        if question.count > 1 {
            let (ends, askedAtMs) = await query(question.flatMap(partitions), deadline: together)
            if let ends {
                for number in question { end(Answer(number: number, ends: ends, askedAtMs: askedAtMs), answered) }
                return
            }
        }
        await withDiscardingTaskGroup { group in
            for number in question {
                group.addTask {
                    let (ends, askedAtMs) = await self.query(partitions(number), deadline: alone)
                    self.end(Answer(number: number, ends: ends, askedAtMs: askedAtMs), answered)
                }
            }
        }
    }

    private func end(_ answer: Answer, _ answered: (Answer) -> Void) {
        answered(answer)
        asking.withLock { $0.answered(answer.number, isAnswering: answer.ends != nil) }
    }

    private func query(
        _ partitions: [TopicPartition], deadline: Duration
    ) async -> (ends: [TopicPartition: Int64]?, askedAtMs: Int64) {
        let askedAtMs = steadyMs()
        do {
            let ends = try await consumer.endOffsets(partitions, deadline: deadline)
            return (partitions.allSatisfy { ends[$0] != nil } ? ends : nil, askedAtMs)
        } catch {
            logger.debug("the ends of the topics are not known", metadata: ["error": "\(error)"])
            return (nil, askedAtMs)
        }
    }
}
