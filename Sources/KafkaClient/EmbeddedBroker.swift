import CRdKafka
import Foundation
public import Logging
import Synchronization

/// librdkafka's mock broker on loopback, for development and tests. It speaks the real protocol on real sockets and
/// keeps its data in memory. docs/operations.md lists its limits (5 MB or 100,000 records per partition, no look-up by
/// time, no compaction, ACLs or TLS).
public final class EmbeddedBroker: Sendable {
    /// Owns the mock cluster, and holds the handle that it belongs to.
    ///
    /// `@unchecked Sendable`: the mock cluster locks itself (rdkafka_mock.h).
    private final class Cluster: @unchecked Sendable {
        let handle: RDKafkaHandle
        let pointer: OpaquePointer

        init(handle: RDKafkaHandle, brokers: Int) throws(KafkaError) {
            guard let pointer = rd_kafka_mock_cluster_new(handle.pointer, Int32(brokers)) else {
                throw KafkaError(code: "_FAIL", reason: "the embedded broker did not start")
            }
            self.handle = handle
            self.pointer = pointer
        }

        deinit {
            // Nothing else holds the cluster, so nothing else uses the pointer. The destruction waits for the cluster's
            // own thread.
            nonisolated(unsafe) let pointer = pointer
            handle.later { [handle] in
                rd_kafka_mock_cluster_destroy(pointer)
                withExtendedLifetime(handle) {}
            }
        }
    }

    private let cluster: Mutex<Cluster?>
    private let lostPeers: LostPeers

    /// `127.0.0.1:port,…`.
    public let bootstrapServers: String

    /// Starts the broker.
    /// - Parameters:
    ///   - brokers: 1 or more.
    ///   - topics: topics to create, with their numbers of partitions.
    ///   - logger: gets librdkafka's log lines; silent by default.
    public init(
        brokers: Int = 1, topics: [String: Int],
        logger: Logger = Logger(label: "beckon-broker") { _ in SwiftLogNoOpLogHandler() }
    ) throws(KafkaError) {
        let handle = try RDKafkaHandle(
            type: RD_KAFKA_PRODUCER, properties: [("client.id", "beckon-broker"), ("log_level", "3")],
            diagnosis: KafkaDiagnosis(), logger: logger)
        let cluster = try Cluster(handle: handle, brokers: brokers)
        for (topic, partitions) in topics {
            let code = rd_kafka_mock_topic_create(cluster.pointer, topic, Int32(partitions), Int32(brokers))
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, "create topic \(topic)") }
        }
        bootstrapServers = String(cString: rd_kafka_mock_cluster_bootstraps(cluster.pointer))
        self.cluster = Mutex(cluster)
        lostPeers = LostPeers(bootstrapServers: bootstrapServers)
        lostPeers.start()
    }

    deinit { lostPeers.stop() }

    /// A fault switch.
    public enum Fault: Sendable, Hashable {
        case brokerDown(Int32)
        case brokerUp(Int32)
        /// Round-trip time that is added to each answer of a broker, in milliseconds; 0 removes it.
        case delay(broker: Int32, milliseconds: Int32)
        /// The next requests of this API key get these error codes (Kafka protocol numbers), after the codes that
        /// remain from earlier calls. An empty list removes all remaining codes.
        case requestErrors(apiKey: Int16, codes: [Int16])
        /// A partition has no leader, or gets this broker as its leader again.
        case leader(topic: String, partition: Int32, broker: Int32?)
    }

    /// - Throws: for a broker (ids start at 1) or partition that does not exist, or `_CLOSED`.
    public func inject(_ fault: Fault) throws(KafkaError) {
        let code: rd_kafka_resp_err_t? = cluster.withLock { cluster in
            guard let pointer = cluster?.pointer else { return nil }
            switch fault {
            case .brokerDown(let id): return rd_kafka_mock_broker_set_down(pointer, id)
            case .brokerUp(let id): return rd_kafka_mock_broker_set_up(pointer, id)
            case .delay(let id, let milliseconds): return rd_kafka_mock_broker_set_rtt(pointer, id, milliseconds)
            case .requestErrors(let apiKey, let codes):
                guard !codes.isEmpty else {
                    rd_kafka_mock_clear_request_errors(pointer, apiKey)
                    return RD_KAFKA_RESP_ERR_NO_ERROR
                }
                let errors = codes.map { rd_kafka_resp_err_t(rawValue: Int32($0)) }
                rd_kafka_mock_push_request_errors_array(pointer, apiKey, errors.count, errors)
                return RD_KAFKA_RESP_ERR_NO_ERROR
            case .leader(let topic, let partition, let broker):
                return rd_kafka_mock_partition_set_leader(pointer, topic, partition, broker ?? -1)
            }
        }
        guard let code else { throw .closed }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, "fault \(fault)") }
    }

    /// Stops the broker and frees its port. Idempotent.
    public func close() async {
        await take()?.empty(deadline: .seconds(5))
    }

    /// - Returns: a group that is empty when the handle has ended.
    private func take() -> DispatchGroup? {
        lostPeers.stop()
        return cluster.withLock { cluster in
            defer { cluster = nil }
            return cluster?.handle.end
        }
    }
}
