import Synchronization

/// What a consumer is told.
public enum ConsumerEvent: Sendable {
    /// Partitions are ours: answer with ``Assignment/accept(from:)``.
    case assigned(Assignment)
    /// Partitions go to someone else once this is answered: drain, commit, then ``Revocation/accept()``.
    case revoked(Revocation)
    /// They are someone else's already: commit nothing, then ``Revocation/accept()``.
    case lost(Revocation)
    /// The logs of ``Assignment/rewritten`` are not the ones that were read: their topics were deleted and made anew, or they were
    /// cut. Drain, then answer with ``Assignment/accept(from:)`` and begin those at their start; commit no old position of them.
    case rewritten(Assignment)
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
    /// Those whose log is another than the one that this consumer read before.
    public var rewritten: Set<TopicPartition> = []
    let consumer: KafkaConsumer
    /// Of the assignment that is to be read anew; nil: this is a new one.
    var generation: Int? = nil

    /// False for a ``ConsumerEvent/rewritten(_:)`` whose partitions were handed over meanwhile: nothing is to be done.
    public var isCurrent: Bool { generation.map { $0 == consumer.generation.load(ordering: .acquiring) } ?? true }

    /// Takes the partitions over and starts fetching.
    /// - Parameter starts: where each begins; one that is left out begins at its committed offset, else at the beginning.
    /// - Returns: a reader per partition.
    public func accept(
        from starts: [TopicPartition: StartOffset]
    ) async throws(KafkaError) -> [TopicPartition: PartitionReader] {
        try await consumer.assign(partitions, from: starts)
    }

    /// Takes nothing: for an owner who is about to leave. An assignment without any answer would keep the group waiting.
    public func refuse() async { await consumer.unassign() }
}

/// A revocation waiting for its answer.
public struct Revocation: Sendable {
    public let partitions: [TopicPartition]
    let consumer: KafkaConsumer

    /// Hands the partitions over. Their readers end.
    public func accept() async { await consumer.unassign() }
}
