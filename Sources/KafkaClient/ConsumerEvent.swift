import Synchronization

/// An event for a consumer.
public enum ConsumerEvent: Sendable {
    /// The consumer gets partitions. Answer with ``Assignment/accept(from:)``.
    case assigned(Assignment)
    /// Partitions go to another member after the answer. Drain, commit, then call ``Revocation/accept()``.
    case revoked(Revocation)
    /// The partitions already belong to another member. Commit nothing, then call ``Revocation/accept()``.
    case lost(Revocation)
    /// The logs of ``Assignment/rewritten`` are not the logs that were read before: their topics were deleted and
    /// created again, or the logs were cut. Drain, then answer with ``Assignment/accept(from:)`` and begin these
    /// partitions at their start. Do not commit an old position of them.
    case rewritten(Assignment)
    /// A fault to report. librdkafka continues by itself unless `isFatal`.
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

/// An assignment that waits for its answer.
public struct Assignment: Sendable {
    public let partitions: [TopicPartition]
    /// Partitions whose log is not the one that this consumer read before.
    public var rewritten: Set<TopicPartition> = []
    let consumer: KafkaConsumer
    /// The generation of the assignment that must be read again; nil: this is a new assignment.
    var generation: Int? = nil

    /// False for a ``ConsumerEvent/rewritten(_:)`` whose partitions were handed over in the meantime. It needs no
    /// action.
    public var isCurrent: Bool { generation.map { $0 == consumer.generation.load(ordering: .acquiring) } ?? true }

    /// Accepts the partitions and starts fetching.
    /// - Parameter starts: the start of each partition. A partition without an entry begins at its committed offset, or
    ///   else at the beginning.
    /// - Returns: a reader per partition.
    public func accept(
        from starts: [TopicPartition: StartOffset]
    ) async throws(KafkaError) -> [TopicPartition: PartitionReader] {
        try await consumer.assign(partitions, from: starts)
    }

    /// Refuses the partitions. Use it when the owner is about to leave, because the group waits for an answer to an
    /// assignment.
    public func refuse() async { await consumer.unassign() }
}

/// A revocation that waits for its answer.
public struct Revocation: Sendable {
    public let partitions: [TopicPartition]
    let consumer: KafkaConsumer

    /// Hands the partitions over. Their readers end.
    public func accept() async { await consumer.unassign() }
}
