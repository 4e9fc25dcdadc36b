import CRdKafka
import Foundation
import Logging
import Synchronization

/// One producer handle and the thread that serves its delivery reports.
final class ProducerSession: Sendable {
    /// What a delivery report calls. Retained when a record is enqueued, released by the report, or by us when
    /// librdkafka refuses the record.
    private final class Delivery: Sendable {
        let completion: @Sendable (Result<RecordPosition, KafkaError>) -> Void
        let topic: String
        init(topic: String, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void) {
            self.topic = topic
            self.completion = completion
        }
    }

    private enum Stage: Int, AtomicRepresentable {
        case working
        /// Takes nothing new and ends with its last report.
        case retiring
        /// Ends now: what has no report fails.
        case ending
        case ended
    }

    let handle: RDKafkaHandle
    private let stage = Atomic(Stage.working)

    init(_ configuration: KafkaConfiguration, properties: [(String, String)], logger: Logger) throws(KafkaError) {
        handle = try RDKafkaHandle(
            type: RD_KAFKA_PRODUCER, properties: properties, diagnosis: configuration.diagnosis, logger: logger
        ) { conf in
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
        // Holds the session, and with it the handle, until it has ended.
        let thread = Thread { [self] in serve() }
        thread.name = "beckon-kafka-producer"
        thread.start()
    }

    private func serve() {
        while true {
            let stage = stage.load(ordering: .acquiring)
            if stage == .ending || stage == .retiring && rd_kafka_outq_len(handle.pointer) == 0 { break }
            rd_kafka_poll(handle.pointer, 100)
        }
        // Whatever is left gets its report: purged records fail, and their completions run here.
        rd_kafka_purge(handle.pointer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        rd_kafka_flush(handle.pointer, 1000)
        stage.store(.ended, ordering: .releasing)
    }

    /// - Returns: why librdkafka does not take the record; nil: it does, and `completion` will be called once.
    func produce(
        _ record: ProducerRecord, completion: @escaping @Sendable (Result<RecordPosition, KafkaError>) -> Void
    ) -> KafkaError? {
        let topic = record.topic
        let delivery = Unmanaged.passRetained(
            Delivery(topic: topic) { [weak handle] result in
                switch result {
                case .success: handle?.isWell(.topic(topic))
                case .failure(let error): handle?.note(error, topic: topic)
                }
                completion(result)
            })
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
                    value.isEmpty ? nil : value.baseAddress, value.count, headers, record.timestampMs ?? 0,
                    delivery.toOpaque())
            }
        }
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        if let headers { rd_kafka_headers_destroy(headers) }
        delivery.release()
        let error = KafkaError(code, "write to \(topic)")
        handle.note(error, topic: topic)
        return error
    }

    /// - Returns: false at the deadline.
    func flush(deadline: Duration) async -> Bool {
        let milliseconds = deadline.timeoutMs
        return await handle.offPool(deadline: deadline + .seconds(1)) {
            rd_kafka_flush($0, milliseconds) == RD_KAFKA_RESP_ERR_NO_ERROR
        } ?? false
    }

    func retire() {
        _ = stage.compareExchange(expected: .working, desired: .retiring, ordering: .acquiringAndReleasing)
    }

    func end() {
        for former in [Stage.working, .retiring] {
            _ = stage.compareExchange(expected: former, desired: .ending, ordering: .acquiringAndReleasing)
        }
    }

    var hasEnded: Bool { stage.load(ordering: .acquiring) == .ended }
}
