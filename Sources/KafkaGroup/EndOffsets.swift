public import KafkaClient
public import Logging
import Synchronization

/// Asks Kafka where partitions end, for many partition numbers at once. A number is asked about once at a time, and one that does
/// not answer delays none of the others.
public final class EndOffsets: Sendable {
    /// What was found out about one partition number.
    public struct Answer: Sendable {
        public let number: Int32
        /// The end of each partition that was asked for, and of others; nil: Kafka did not say within the deadline.
        public let ends: [TopicPartition: Int64]?
        /// Before the question left. Everything acknowledged before it lies below the ends.
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

    /// The questions that are to be asked now, each with one ``ask(_:together:alone:partitions:answered:)``; they may run side by
    /// side. Numbers that are being asked about already are in none.
    public func questions(for numbers: [Int32]) -> [[Int32]] { asking.withLock { $0.questions(for: numbers) } }

    /// Asks one batched query about all numbers; when that fails, one per number.
    /// - Parameters:
    ///   - question: one of ``questions(for:)``.
    ///   - together: the deadline of the batched query.
    ///   - alone: the deadline of a query about one number.
    ///   - partitions: what to ask for of a number.
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
