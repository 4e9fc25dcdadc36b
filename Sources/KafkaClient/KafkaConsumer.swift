public import Logging

/// A member of a consumer group with a queue per partition. One librdkafka handle, one thread of our own that polls it.
///
/// The rebalance is an event that the owner answers after draining, while polling goes on: `range`, eager,
/// `auto.offset.reset=earliest`, no auto commit, partition-EOF on.
public final class KafkaConsumer: Sendable {
    /// Subscribes at once. Everything arrives through ``events``.
    public init(configuration: KafkaConfiguration, groupID: String, topics: [String], logger: Logger) throws(KafkaError)
    {
        preconditionFailure("skeleton")
    }

    /// Reads all partitions of the topics from wherever ``Assignment/accept(from:)`` says, in no group: one `assigned` event
    /// comes, nothing is ever committed. For `configuration`, which every worker reads whole and then follows.
    public init(configuration: KafkaConfiguration, following topics: [String], logger: Logger) throws(KafkaError) {
        preconditionFailure("skeleton")
    }

    /// Rebalances and faults in order; ends after ``close(deadline:)``. One reader. Bounded by what librdkafka has
    /// outstanding: it sends no second rebalance before the first is answered.
    public var events: AsyncStream<ConsumerEvent> { preconditionFailure("skeleton") }

    /// The committed position and metadata per partition; nil where the group never committed.
    public func committed(
        _ partitions: [TopicPartition], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: CommittedOffset?] {
        preconditionFailure("skeleton")
    }

    /// Commits and waits for the coordinator's answer. A refusal inside a rebalance is normal and thrown as retriable.
    public func commit(_ offsets: [TopicPartition: CommittedOffset], deadline: Duration) async throws(KafkaError) {
        preconditionFailure("skeleton")
    }

    /// The end of each partition (the offset that the next record will get) as asked now, in one batched query.
    public func endOffsets(
        _ partitions: [TopicPartition], deadline: Duration
    ) async throws(KafkaError) -> [TopicPartition: Int64] {
        preconditionFailure("skeleton")
    }

    /// Leaves the group: a last `revoked` event comes first and must be answered. At the deadline gives up waiting.
    public func close(deadline: Duration) async {}
}

/// What a consumer is told.
public enum ConsumerEvent: Sendable {
    /// Partitions are ours: answer with ``Assignment/accept(from:)``.
    case assigned(Assignment)
    /// Partitions go to someone else once this is answered: drain, commit, then ``Revocation/accept()``.
    case revoked(Revocation)
    /// They are someone else's already: commit nothing, then ``Revocation/accept()``.
    case lost(Revocation)
    /// Worth telling; librdkafka goes on by itself unless `isFatal`.
    case fault(KafkaError)
}

/// A position to start from.
public enum StartOffset: Hashable, Sendable {
    case beginning
    case end
    case at(Int64)
}

/// A commit: the offset of the next record to read, and up to 4,096 bytes of metadata.
public struct CommittedOffset: Hashable, Sendable {
    public let offset: Int64
    public let metadata: String

    public init(offset: Int64, metadata: String = "") {
        self.offset = offset
        self.metadata = metadata
    }
}

/// An assignment waiting for its answer.
public struct Assignment: Sendable {
    public let partitions: [TopicPartition]

    /// Takes the partitions over and starts fetching.
    /// - Parameter starts: where each begins; one that is left out begins at its committed offset, else at the beginning.
    /// - Returns: a reader per partition.
    public func accept(
        from starts: [TopicPartition: StartOffset]
    ) async throws(KafkaError) -> [TopicPartition: PartitionReader] {
        preconditionFailure("skeleton")
    }
}

/// A revocation waiting for its answer.
public struct Revocation: Sendable {
    public let partitions: [TopicPartition]

    /// Hands the partitions over. Their readers end.
    public func accept() async { preconditionFailure("skeleton") }
}

/// The queue of one assigned partition, not forwarded: not asking is not reading, and slows nobody else.
public final class PartitionReader: Sendable {
    public let topicPartition: TopicPartition

    init(topicPartition: TopicPartition) { self.topicPartition = topicPartition }

    /// Waits for records and returns what is there, in order. One caller at a time.
    /// - Parameter max: 1 or more records at the most.
    /// - Returns: at least one item; nil when the partition was handed over or the consumer closed, or the task cancelled.
    public func next(max: Int) async -> [PartitionItem]? { preconditionFailure("skeleton") }
}

public enum PartitionItem: Sendable {
    case record(ConsumedRecord)
    /// Everything below this offset has been returned; more may come.
    case endOfPartition(Int64)
}
