import CRdKafka
import Foundation
public import Logging
import Synchronization

/// An idempotent producer (`acks=all`, murmur2). One librdkafka handle, one thread of our own that serves its delivery
/// reports. A fatal error (idempotence lost) rebuilds the handle; what was unacknowledged then fails with that error.
public final class KafkaProducer: Sendable {
    private struct State {
        var session: ProducerSession?
        /// What is known of the topics, to refuse a partition that does not exist: librdkafka 2.0.2 frees the headers twice.
        var partitionCounts: [String: Int] = [:]
    }

    private let configuration: KafkaConfiguration
    private let logger: Logger
    private let state: Mutex<State>

    public init(configuration: KafkaConfiguration, logger: Logger) throws(KafkaError) {
        self.configuration = configuration
        self.logger = logger
        state = Mutex(State(session: try ProducerSession(properties: configuration.producerProperties, logger: logger)))
    }

    /// Returns when the broker has acknowledged. Cancelling does not take the record back: the call still waits for the
    /// delivery report, which `message.timeout.ms` (30 s) bounds.
    /// - Throws: ``KafkaError``; unless it ``KafkaError/isRefusal(of:)`` the record may or may not have been written.
    public func send(_ record: ProducerRecord) async throws(KafkaError) -> RecordPosition {
        let result = await withCheckedContinuation { continuation in
            enqueue(record) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// The same without a task: `completion` is called once, on the producer's thread, and must only enqueue or signal.
    /// When the local queue is full or the handle is closed it is called at once, on the caller's thread.
    public func enqueue(
        _ record: ProducerRecord, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void
    ) {
        let (session, known) = state.withLock {
            ($0.session, record.partition == nil ? nil : $0.partitionCounts[record.topic])
        }
        guard let session else { return completion(.failure(.closed)) }
        if let partition = record.partition {
            guard let known, partition >= 0, Int(partition) < known else {
                return completion(
                    .failure(
                        KafkaError(
                            code: "_UNKNOWN_PARTITION",
                            reason: "\(record.topic)[\(partition)]: ask partitionCounts first, and stay below the count"
                        )))
            }
        }
        session.produce(record) { [weak self] result in
            if case .failure(let error) = result, error.isFatal { self?.rebuild(replacing: session, because: error) }
            completion(result)
        }
    }

    /// The number of partitions of each topic. Creates nothing on a real cluster.
    /// - Throws: `UNKNOWN_TOPIC_OR_PART` when one does not exist.
    public func partitionCounts(of topics: [String], deadline: Duration) async throws(KafkaError) -> [String: Int] {
        guard let session = state.withLock({ $0.session }) else { throw .closed }
        var counts: [String: Int] = [:]
        for topic in topics { counts[topic] = try await session.handle.partitionCount(of: topic, deadline: deadline) }
        state.withLock { $0.partitionCounts.merge(counts) { $1 } }
        return counts
    }

    /// The partition that a key belongs to; 0 while ``partitionCounts(of:deadline:)`` has not said how many the topic has.
    public func partition(of key: [UInt8], in topic: String) -> Int32 {
        state.withLock { $0.partitionCounts[topic] }.map { Murmur2.partition(key: key, partitions: $0) } ?? 0
    }

    /// Returns when everything enqueued has its delivery report, or at the deadline.
    /// - Returns: false at the deadline.
    public func flush(deadline: Duration) async -> Bool {
        guard let session = state.withLock({ $0.session }) else { return true }
        let milliseconds = deadline.milliseconds
        return await session.handle.offPool(deadline: deadline + .seconds(1)) {
            rd_kafka_flush($0, milliseconds) == RD_KAFKA_RESP_ERR_NO_ERROR
        } ?? false
    }

    /// Flushes, then ends the thread and the handle. Later calls fail with `_CLOSED`. Idempotent.
    public func close(deadline: Duration) async {
        let session = state.withLock { state in
            defer { state.session = nil }
            return state.session
        }
        await session?.close(deadline: deadline)
    }

    /// Replaces a handle that has lost its idempotence. What it still holds fails with its own delivery reports.
    private func rebuild(replacing broken: ProducerSession, because error: KafkaError) {
        logger.error("the producer is rebuilt after a fatal error", metadata: ["error": "\(error)"])
        do {
            let fresh = try ProducerSession(properties: configuration.producerProperties, logger: logger)
            let isReplaced = state.withLock { state in
                guard state.session === broken else { return false }
                state.session = fresh
                return true
            }
            (isReplaced ? broken : fresh).end()
        } catch {
            logger.critical("the producer cannot be rebuilt", metadata: ["error": "\(error)"])
        }
    }
}

/// One handle and the thread that serves its delivery reports.
private final class ProducerSession: Sendable {
    /// What a delivery report calls. Retained when a record is enqueued, released by the report, or by us when librdkafka
    /// refuses the record.
    private final class Delivery: Sendable {
        let completion: @Sendable (Result<RecordPosition, KafkaError>) -> Void
        let topic: String
        init(topic: String, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void) {
            self.topic = topic
            self.completion = completion
        }
    }

    let handle: RDKafkaHandle
    private let isEnding = Atomic(false)
    /// Left when the thread has ended and the handle is gone.
    private let ended = DispatchGroup()

    init(properties: [(String, String)], logger: Logger) throws(KafkaError) {
        handle = try RDKafkaHandle(type: RD_KAFKA_PRODUCER, properties: properties, logger: logger) { conf in
            rd_kafka_conf_set_dr_msg_cb(conf) { _, message, _ in
                guard let message = message?.pointee, let opaque = message._private else { return }
                let delivery = Unmanaged<Delivery>.fromOpaque(opaque).takeRetainedValue()
                if message.err == RD_KAFKA_RESP_ERR_NO_ERROR {
                    delivery.completion(
                        .success(
                            RecordPosition(
                                topicPartition: TopicPartition(topic: delivery.topic, partition: message.partition),
                                offset: message.offset)))
                } else {
                    delivery.completion(.failure(KafkaError(message.err, "write to \(delivery.topic)")))
                }
            }
        }
        ended.enter()
        let thread = Thread { [self] in
            defer { ended.leave() }
            while !isEnding.load(ordering: .acquiring) { rd_kafka_poll(handle.pointer, 100) }
            // Whatever is left gets its report: purged records fail, and their completions run here.
            rd_kafka_purge(handle.pointer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
            rd_kafka_flush(handle.pointer, 1000)
            handle.destroy()
        }
        thread.name = "beckon-kafka-producer"
        thread.start()
    }

    func produce(_ record: ProducerRecord, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void)
    {
        let delivery = Unmanaged.passRetained(Delivery(topic: record.topic, completion: completion))
        let headers = record.headers.isEmpty ? nil : rd_kafka_headers_new(record.headers.count)
        for header in record.headers {
            header.value.withUnsafeBytes {
                _ = rd_kafka_header_add(headers, header.name, -1, $0.baseAddress, $0.count)
            }
        }
        let code = record.key.withUnsafeBytes { key in
            record.value.withUnsafeBytes { value in
                // A tombstone is a value that is absent. That of an empty array would be there, with a length of 0, and
                // compaction would keep it.
                beckon_produce(
                    handle.pointer, record.topic, record.partition ?? -1, key.baseAddress, key.count,
                    value.isEmpty ? nil : value.baseAddress, value.count, headers, delivery.toOpaque())
            }
        }
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        if let headers { rd_kafka_headers_destroy(headers) }
        delivery.release()
        completion(.failure(KafkaError(code, "write to \(record.topic)")))
    }

    func end() { isEnding.store(true, ordering: .releasing) }

    func close(deadline: Duration) async {
        let milliseconds = deadline.milliseconds
        _ = await handle.offPool(deadline: deadline + .seconds(1)) { rd_kafka_flush($0, milliseconds).rawValue }
        end()
        // So that whoever ends the broker next does not end it under a live connection. The thread needs 100 ms to look, and a
        // second at most for what is left.
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let once = Once(continuation)
            ended.notify(queue: .global()) { once.resume(()) }
            DispatchQueue.global().asyncAfter(deadline: .now() + 2) { once.resume(()) }
        }
    }
}

extension RDKafkaHandle {
    func partitionCount(of topic: String, deadline: Duration) async throws(KafkaError) -> Int {
        let milliseconds = deadline.milliseconds
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
        return try answer.get()
    }
}
