public import Logging

/// An idempotent producer (`acks=all`, murmur2). One librdkafka handle, one thread of our own that serves its delivery
/// reports. A fatal error (idempotence lost) rebuilds the handle; what was unacknowledged then fails with that error.
public final class KafkaProducer: Sendable {
    public init(configuration: KafkaConfiguration, logger: Logger) throws(KafkaError) {
        preconditionFailure("skeleton")
    }

    /// Returns when the broker has acknowledged. Cancelling does not take the record back: the call still waits for the
    /// delivery report, which `message.timeout.ms` bounds.
    /// - Throws: ``KafkaError``; with `isRetriable` the record may or may not have been written.
    public func send(_ record: ProducerRecord) async throws(KafkaError) -> RecordPosition {
        preconditionFailure("skeleton")
    }

    /// The same without a task: `completion` is called once, on the producer's thread, and must only enqueue or signal.
    /// When the local queue is full or the handle is closed it is called at once, on the caller's thread.
    public func enqueue(
        _ record: ProducerRecord, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void
    ) {
        preconditionFailure("skeleton")
    }

    /// The number of partitions of each topic. Creates nothing on a real cluster.
    /// - Throws: `UNKNOWN_TOPIC_OR_PART` when one does not exist.
    public func partitionCounts(of topics: [String], deadline: Duration) async throws(KafkaError) -> [String: Int] {
        preconditionFailure("skeleton")
    }

    /// Returns when everything enqueued has its delivery report, or at the deadline.
    /// - Returns: false at the deadline.
    public func flush(deadline: Duration) async -> Bool { preconditionFailure("skeleton") }

    /// Flushes, then ends the thread and the handle. Later calls fail with `_CLOSED`. Idempotent.
    public func close(deadline: Duration) async {}
}
