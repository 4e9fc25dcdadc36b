public import ChallengeModel
public import KafkaClient
public import Logging
public import ServiceSupport
import Synchronization

/// Selects dead letters.
public struct DeadLetterFilter: Sendable, Hashable {
    /// Topics of the original records; empty: all.
    public var topics: Set<Topic> = []
    /// Reasons of the dead letters; empty: all.
    public var reasons: Set<String> = []
    /// The key of the original record, exactly.
    public var key: String?
    /// Only dead letters that were written at this time or later, epoch milliseconds.
    public var sinceMs: Int64?
    /// Only this dead letter and later ones: of the same partition, and all of higher partitions.
    public var from: DeadLetter.ID?

    public init() {}

    func selects(_ letter: DeadLetter) -> Bool {
        (topics.isEmpty || letter.topic.map { topics.contains($0) } ?? false)
            && (reasons.isEmpty || reasons.contains(letter.reason)) && key.map { Array($0.utf8) == letter.key } ?? true
            && sinceMs.map { letter.writtenAtMs >= $0 } ?? true && from.map { letter.id >= $0 } ?? true
    }
}

/// The result of a search for dead letters.
public struct DeadLetterPage: Sendable {
    /// The newest of the selected dead letters, ordered by partition and offset.
    public var letters: [DeadLetter] = []
    /// How many were selected, including those that are not in ``letters``.
    public var selected = 0
    /// How many were read.
    public var examined = 0
    /// False: older dead letters were not read because of the bound of the search, or the deadline passed.
    public var isComplete = true
}

/// Reads topic `dead-letters` without a consumer group, up to the end that the topic has at the start of the call.
/// Nothing is committed, so any number of readers can use it at the same time.
public struct DeadLetterArchive: Sendable {
    let kafka: KafkaConfiguration
    let signer: RecordSigner
    let logger: Logger

    /// The full name of the topic.
    public var topicName: String { signer.names[.deadLetters] }

    /// - Parameter signer: with the record keys, which decide about genuine and forged.
    public init(kafka: KafkaConfiguration, signer: RecordSigner, logger: Logger) {
        self.kafka = kafka
        self.signer = signer
        self.logger = logger
    }

    /// - Parameters:
    ///   - limit: 1 or more dead letters are returned at most.
    ///   - scan: how many of the newest dead letters are read at most; they are shared out among the partitions.
    ///   - deadline: of the whole call. After it the result has what was read until then.
    /// - Throws: ``KafkaError`` when Kafka does not answer within the deadline, with the cause if it is known.
    public func list(
        _ filter: DeadLetterFilter, limit: Int = 100, scan: Int = 100_000, deadline: Duration = .seconds(30)
    ) async throws(KafkaError) -> DeadLetterPage {
        let page = Mutex(DeadLetterPage())
        let signer = signer
        let isRead = try await read(
            deadline: deadline,
            starts: { ends in
                let share = max(1, Int64(scan / max(1, ends.count)))
                return ends.mapValues { max(0, $0 - share) }
            },
            began: { starts, firsts in
                let isCut = starts.contains { partition, start in (firsts[partition] ?? 0) < start }
                if isCut { page.withLock { $0.isComplete = false } }
            },
            each: { record in
                let letter = DeadLetter(record, signer: signer)
                let isSelected = filter.selects(letter)
                page.withLock { page in
                    page.examined += 1
                    guard isSelected else { return }
                    page.selected += 1
                    page.letters.append(letter)
                    // Twice the limit, so that the oldest are not moved for each new one.
                    if page.letters.count >= 2 * max(1, limit) { Self.shorten(&page.letters, to: limit) }
                }
                return true
            })
        return page.withLock { page in
            Self.shorten(&page.letters, to: limit)
            page.letters.sort { $0.id < $1.id }
            if !isRead { page.isComplete = false }
            return page
        }
    }

    private static func shorten(_ letters: inout [DeadLetter], to limit: Int) {
        guard letters.count > limit else { return }
        letters.sort { ($0.writtenAtMs, $0.id) < ($1.writtenAtMs, $1.id) }
        letters.removeFirst(letters.count - max(1, limit))
    }

    /// One dead letter with its payload.
    /// - Returns: nil when the topic does not contain it.
    public func letter(
        _ id: DeadLetter.ID, deadline: Duration = .seconds(15)
    ) async throws(KafkaError) -> (letter: DeadLetter, payload: [UInt8])? {
        let found = Mutex<(DeadLetter, [UInt8])?>(nil)
        let signer = signer
        _ = try await read(deadline: deadline, only: [id]) { record in
            found.withLock { $0 = (DeadLetter(record, signer: signer), record.value) }
            return false
        }
        return found.withLock { $0 }.map { (letter: $0.0, payload: $0.1) }
    }

    /// Reads exactly these dead letters, in the order of their ids.
    /// - Parameter each: returns false to end the reading.
    /// - Returns: false when the deadline passed before.
    func read(
        deadline: Duration, only ids: Set<DeadLetter.ID>,
        each: @escaping @Sendable (ConsumedRecord) async -> Bool
    ) async throws(KafkaError) -> Bool {
        let wanted = Dictionary(grouping: ids, by: \.partition).mapValues { ids in
            ids.map(\.offset).min() ?? 0
        }
        let last = Dictionary(grouping: ids, by: \.partition).mapValues { ids in ids.map(\.offset).max() ?? 0 }
        return try await read(
            deadline: deadline,
            starts: { ends in
                var starts: [TopicPartition: Int64] = [:]
                for (partition, end) in ends { starts[partition] = min(wanted[partition.partition] ?? end, end) }
                return starts
            },
            began: { _, _ in },
            until: { partition, end in min(end, (last[partition.partition] ?? -1) + 1) },
            each: { record in
                guard ids.contains(DeadLetter.ID(partition: record.topicPartition.partition, offset: record.offset))
                else { return true }
                return await each(record)
            })
    }

    /// - Parameters:
    ///   - starts: the offset to start from in each partition, from the ends.
    ///   - began: gets the starts, and the lowest offset that each partition still has.
    ///   - until: the offset at which a partition is read, from its end.
    ///   - each: called for one record after the other, partition by partition; false ends the reading.
    /// - Returns: false when the deadline passed before everything was read.
    private func read(
        deadline: Duration,
        starts: @escaping @Sendable ([TopicPartition: Int64]) -> [TopicPartition: Int64],
        began: @escaping @Sendable (_ starts: [TopicPartition: Int64], _ firsts: [TopicPartition: Int64]) -> Void,
        until: @escaping @Sendable (TopicPartition, Int64) -> Int64 = { $1 },
        each: @escaping @Sendable (ConsumedRecord) async -> Bool
    ) async throws(KafkaError) -> Bool {
        let consumer = try KafkaConsumer(
            configuration: kafka, following: [signer.names[.deadLetters]], logger: logger)
        let end = ContinuousClock.now + deadline
        let seen = Cause()
        let result = await withTaskGroup(of: Result<Bool, KafkaError>?.self) { group in
            group.addTask {
                do throws(KafkaError) {
                    return .success(
                        try await self.read(
                            consumer, end: end, starts: starts, began: began, until: until, each: each))
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                // A cancelled caller ends the reading at once, and a deadline later.
                try? await Task.sleep(until: end, clock: .continuous)
                // The diagnosis forgets the causes of a client that is closed.
                let known = kafka.diagnosis.cause
                seen.cause.withLock { $0 = known }
                await consumer.close(deadline: .seconds(2))
                return nil
            }
            var result: Result<Bool, KafkaError>?
            for await one in group {
                guard let one else { continue }
                result = one
                group.cancelAll()
            }
            return result
        }
        switch result {
        case .success(let isRead): return isRead
        // librdkafka's codes say only that nobody answered.
        case .failure(let error):
            throw KafkaError(
                code: error.code, reason: "topic \(topicName): \(seen.cause.withLock { $0 } ?? error.reason)",
                isFatal: error.isFatal)
        case nil: throw unanswered
        }
    }

    /// Why the brokers cannot be reached, as it was known before the client was closed.
    private final class Cause: Sendable {
        let cause = Mutex<String?>(nil)
    }

    private func read(
        _ consumer: KafkaConsumer, end: ContinuousClock.Instant,
        starts: ([TopicPartition: Int64]) -> [TopicPartition: Int64],
        began: ([TopicPartition: Int64], [TopicPartition: Int64]) -> Void,
        until: (TopicPartition, Int64) -> Int64, each: (ConsumedRecord) async -> Bool
    ) async throws(KafkaError) -> Bool {
        for await event in consumer.events {
            guard case .assigned(let assignment) = event else { continue }
            let ends = try await consumer.endOffsets(assignment.partitions, deadline: max(.zero, end - .now))
            let from = starts(ends)
            let firsts = try await consumer.beginningOffsets(
                assignment.partitions, deadline: max(.zero, end - .now))
            began(from, firsts)
            let readers = try await assignment.accept(from: from.mapValues { .at($0) })
            for (partition, reader) in readers.sorted(by: { $0.key < $1.key }) {
                let last = until(partition, ends[partition] ?? 0)
                var position = max(from[partition] ?? 0, firsts[partition] ?? 0)
                while position < last {
                    guard let items = await reader.next(max: 100) else { return false }
                    for item in items {
                        switch item {
                        case .endOfPartition(let offset): position = max(position, offset)
                        case .record(let record):
                            position = max(position, record.offset + 1)
                            guard record.offset < last else { continue }
                            guard await each(record) else { return true }
                        }
                    }
                }
            }
            return true
        }
        throw unanswered
    }

    private var unanswered: KafkaError {
        KafkaError(code: "_TIMED_OUT", reason: "no answer before the deadline; check that the topic exists")
    }
}
