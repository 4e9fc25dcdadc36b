import CRdKafka
import Foundation
public import Logging
import Synchronization

/// An idempotent producer (`acks=all`, murmur2).
/// When the broker refuses a batch because of its size, its records are sent again one by one, and later batches are
/// half as large: `max.message.bytes` of a topic limits batches, and librdkafka has no limit per topic. A fatal error
/// (idempotence lost) rebuilds the handle. Unacknowledged records then fail with that error.
public final class KafkaProducer: Sendable {
    private struct State {
        /// Accepts new records; nil: closed.
        var session: ProducerSession?
        /// True when no new records are accepted and the remaining ones are flushed.
        var isClosing = false
        /// Sends the records of refused batches, each in a request of its own; nil: no batch was refused yet.
        var single: ProducerSession?
        /// Former sessions that still wait for reports. At most one per halving of the batch.
        var retired: [ProducerSession] = []
        /// `batch.size` of `session`.
        var batchBytes: Int
        /// The known numbers of partitions, to refuse a partition that does not exist, because librdkafka 2.0.2 then
        /// frees the headers twice.
        var partitionCounts: [String: Int] = [:]
    }

    /// Smallest batch size. Below it, records are sent one by one.
    private static let leastBatchBytes = 1024

    public let configuration: KafkaConfiguration
    private let logger: Logger
    private let state: Mutex<State>

    public init(configuration: KafkaConfiguration, logger: Logger) throws(KafkaError) {
        self.configuration = configuration
        self.logger = logger
        state = Mutex(
            State(
                session: try ProducerSession(
                    configuration, properties: configuration.producerProperties, logger: logger),
                batchBytes: configuration.batchBytes))
    }

    /// Returns when the broker has acknowledged the record. Cancelling does not withdraw the record: the call still
    /// waits for the delivery report, at most for `message.timeout.ms` (30 s).
    /// - Throws: ``KafkaError``. Unless ``KafkaError/isRefusal(of:)`` is true, the record may or may not have been
    ///   written.
    public func send(_ record: ProducerRecord) async throws(KafkaError) -> RecordPosition {
        let result = await withCheckedContinuation { continuation in
            enqueue(record) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Like `send`, without a task. `completion` is called once, on a thread of the producer, and must only enqueue or
    /// signal. When the local queue is full or the handle is closed, it is called at once, on the caller's thread.
    /// Records of one partition are written in the order of the calls, except those of a batch that was refused because
    /// of its size.
    public func enqueue(
        _ record: ProducerRecord, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void
    ) {
        let (session, known) = state.withLock {
            ($0.isClosing ? nil : $0.session, record.partition == nil ? nil : $0.partitionCounts[record.topic])
        }
        guard let session else { return completion(.failure(.closed)) }
        if let partition = record.partition {
            guard let known, partition >= 0, Int(partition) < known else {
                return completion(
                    .failure(
                        KafkaError(
                            code: "_UNKNOWN_PARTITION",
                            reason:
                                "\(record.topic)[\(partition)]: expected a partition below the topic's partitionCounts"
                        )))
            }
        }
        // The reference is weak: an outstanding report must not keep the session alive, because the end of the session
        // produces the report.
        let refused = session.produce(record) { [weak self, weak session] result in
            if case .failure(let error) = result, let self, let session {
                if error.isTooLarge { return sendAlone(record, refusedBy: session, completion: completion) }
                if error.isFatal { rebuild(replacing: session, because: error) }
            }
            completion(result)
        }
        if let refused { completion(.failure(refused)) }
    }

    /// The number of partitions of each topic. Creates nothing on a real cluster.
    /// - Throws: `UNKNOWN_TOPIC_OR_PART` when a topic does not exist.
    public func partitionCounts(of topics: [String], deadline: Duration) async throws(KafkaError) -> [String: Int] {
        guard let session = state.withLock({ $0.session }) else { throw .closed }
        var counts: [String: Int] = [:]
        for topic in topics { counts[topic] = try await session.handle.partitionCount(of: topic, deadline: deadline) }
        state.withLock { $0.partitionCounts.merge(counts) { $1 } }
        return counts
    }

    /// The current number of partitions of a topic, for watchers. ``partition(of:in:)`` uses the numbers from
    /// ``partitionCounts(of:deadline:)``.
    public func partitionCount(of topic: String, deadline: Duration) async throws(KafkaError) -> Int {
        guard let session = state.withLock({ $0.session }) else { throw .closed }
        return try await session.handle.partitionCount(of: topic, deadline: deadline)
    }

    /// The partition that a key belongs to; 0 until ``partitionCounts(of:deadline:)`` has found the topic's number of
    /// partitions.
    public func partition(of key: [UInt8], in topic: String) -> Int32 {
        state.withLock { $0.partitionCounts[topic] }.map { Murmur2.partition(key: key, partitions: $0) } ?? 0
    }

    /// Returns when all enqueued records have their delivery reports, or at the deadline.
    /// - Returns: false at the deadline.
    public func flush(deadline: Duration) async -> Bool {
        let until = ContinuousClock.now + deadline
        var isFlushed = true
        var done: Set<ObjectIdentifier> = []
        // The last of them takes what the others' refused batches held, and is made when the first is refused.
        while let session = state.withLock({ state in
            (state.retired + [state.session] + [state.single]).compactMap(\.self)
                .first { !done.contains(ObjectIdentifier($0)) }
        }) {
            done.insert(ObjectIdentifier(session))
            isFlushed = await session.flush(deadline: max(.zero, until - .now)) && isFlushed
        }
        return isFlushed
    }

    /// Flushes, then ends the threads and the handles. Later calls fail with `_CLOSED`. Idempotent.
    public func close(deadline: Duration) async {
        // So that whoever ends the broker next does not end it under a live connection. A thread needs 100 ms to look,
        // and a second at most for what is left.
        for end in await endSessions(flushingFor: deadline) { await end.empty(deadline: .seconds(2)) }
    }

    /// - Returns: a group per handle, which is empty when the handle has ended.
    private func endSessions(flushingFor deadline: Duration) async -> [DispatchGroup] {
        state.withLock { $0.isClosing = true }
        _ = await flush(deadline: deadline)
        let sessions = state.withLock { state in
            defer { (state.session, state.single, state.retired) = (nil, nil, []) }
            return (state.retired + [state.session] + [state.single]).compactMap(\.self)
        }
        for session in sessions { session.end() }
        return sessions.map(\.handle.end)
    }

    /// Replaces a handle that has lost its idempotence. Its remaining records fail with their own delivery reports.
    private func rebuild(replacing broken: ProducerSession, because error: KafkaError) {
        logger.error("the producer is rebuilt after a fatal error", metadata: ["error": "\(error)"])
        do {
            let (bytes, isSingle) = state.withLock { ($0.batchBytes, $0.single === broken) }
            let fresh = try ProducerSession(
                configuration,
                properties: isSingle
                    ? configuration.singleRecordProperties : configuration.producerProperties(batchBytes: bytes),
                logger: logger)
            let isReplaced = state.withLock { state in
                if state.session === broken {
                    state.session = fresh
                } else {
                    guard state.single === broken else { return false }
                    state.single = fresh
                }
                return true
            }
            (isReplaced ? broken : fresh).end()
        } catch {
            logger.critical("the producer cannot be rebuilt", metadata: ["error": "\(error)"])
        }
    }
}

// MARK: - Refused batches

extension KafkaProducer {
    /// Sends a record of a refused batch in a request of its own. A record that is then refused is itself too large.
    private func sendAlone(
        _ record: ProducerRecord, refusedBy session: ProducerSession,
        completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void
    ) {
        do {
            try narrow(session, topic: record.topic)
            guard let single = try singleSession() else { return completion(.failure(.closed)) }
            let refused = single.produce(record) { [weak self, weak single] result in
                if case .failure(let error) = result, error.isFatal, let self, let single {
                    rebuild(replacing: single, because: error)
                }
                completion(result)
            }
            if let refused { completion(.failure(refused)) }
        } catch {
            completion(.failure(error))
        }
    }

    /// Makes later batches half as large as those of this session, which only finishes its records.
    private func narrow(_ session: ProducerSession, topic: String) throws(KafkaError) {
        guard let bytes = state.withLock({ $0.session === session ? $0.batchBytes : nil }) else { return }
        let half = bytes / 2
        guard half >= Self.leastBatchBytes else { return }
        let fresh = try ProducerSession(
            configuration, properties: configuration.producerProperties(batchBytes: half), logger: logger)
        let isReplaced = state.withLock { state in
            guard state.session === session else { return false }
            state.session = fresh
            state.batchBytes = half
            state.retired.removeAll { $0.hasEnded }
            state.retired.append(session)
            return true
        }
        guard isReplaced else { return fresh.end() }
        session.retire()
        logger.warning(
            "a broker refuses a batch because of its size: its records are sent one by one, and later batches are smaller",
            metadata: ["topic": "\(topic)", "batch_bytes": "\(half)"])
    }

    /// - Returns: nil when closed.
    private func singleSession() throws(KafkaError) -> ProducerSession? {
        let (known, isClosed) = state.withLock { ($0.single, $0.session == nil) }
        guard known == nil, !isClosed else { return known }
        let fresh = try ProducerSession(
            configuration, properties: configuration.singleRecordProperties, logger: logger)
        let (kept, isOurs) = state.withLock { state -> (ProducerSession?, Bool) in
            if let other = state.single { return (other, false) }
            guard state.session != nil else { return (nil, false) }
            state.single = fresh
            return (fresh, true)
        }
        if !isOurs { fresh.end() }
        return kept
    }
}

extension RDKafkaHandle {
    func partitionCount(of topic: String, deadline: Duration) async throws(KafkaError) -> Int {
        let milliseconds = deadline.timeoutMs
        let answer: Result<Int, KafkaError>? = await offPool(deadline: deadline + .seconds(1)) { handle in
            guard let reference = rd_kafka_topic_new(handle, topic, nil) else {
                return .failure(KafkaError(rd_kafka_last_error(), "topic \(topic)"))
            }
            defer { rd_kafka_topic_destroy(reference) }
            var metadata: UnsafePointer<rd_kafka_metadata>?
            let code = rd_kafka_metadata(handle, 0, reference, &metadata, milliseconds)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else {
                return .failure(KafkaError(code, "partitions of \(topic)"))
            }
            defer { rd_kafka_metadata_destroy(metadata) }
            guard metadata.pointee.topic_cnt == 1, let found = metadata.pointee.topics?.pointee else {
                return .failure(KafkaError(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "partitions of \(topic)"))
            }
            guard found.err == RD_KAFKA_RESP_ERR_NO_ERROR, found.partition_cnt > 0 else {
                return .failure(
                    KafkaError(
                        found.err == RD_KAFKA_RESP_ERR_NO_ERROR ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART : found.err,
                        "partitions of \(topic)"))
            }
            return .success(Int(found.partition_cnt))
        }
        guard let answer else { throw .deadline("partitions of \(topic)") }
        do {
            let count = try answer.get()
            isWell(.topic(topic))
            return count
        } catch {
            note(error, topic: topic)
            throw error
        }
    }
}
