import CRdKafka
import Foundation
public import Logging

/// Whether a broker's address answers.
public struct KafkaReach: Sendable, Hashable {
    /// `host:port`.
    public let address: String
    /// Nil: it has answered.
    public var obstacle: KafkaObstacle?
    /// The log line that says so, or the property that librdkafka refuses.
    public var said = ""
    /// True when librdkafka refuses a property, so that nothing was asked.
    public var isMisconfigured = false
    /// The brokers that it names, by id, as `host:port`: where clients are sent.
    public var brokers: [Int32: String] = [:]

    public init(address: String) { self.address = address }
}

/// A topic as the brokers describe it.
public struct KafkaTopicFacts: Sendable, Hashable {
    public struct Partition: Sendable, Hashable {
        /// -1: none.
        public var leader: Int32
        public var replicas: Int
        public var inSync: Int

        public init(leader: Int32, replicas: Int, inSync: Int) {
            self.leader = leader
            self.replicas = replicas
            self.inSync = inSync
        }
    }

    public var name: String
    /// librdkafka's name of the error, `UNKNOWN_TOPIC_OR_PART` for example; nil: none.
    public var error: String?
    public var partitions: [Partition]
    /// Its settings in force, defaults of the brokers included; nil: they were not asked for, or not told.
    public var settings: [String: String]?

    public init(name: String, error: String? = nil, partitions: [Partition] = [], settings: [String: String]? = nil) {
        self.name = name
        self.error = error
        self.partitions = partitions
        self.settings = settings
    }
}

/// Looks at a cluster and changes nothing. Each call has a client of its own, which ends with it.
public struct KafkaInspection: Sendable {
    private let configuration: KafkaConfiguration
    private let logger: Logger

    public init(configuration: KafkaConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    // MARK: The way to a broker

    /// Connects to one address, and returns as soon as it has answered or a cause is known.
    public func reach(_ address: String, patience: Duration) async -> KafkaReach {
        var reach = KafkaReach(address: address)
        // A diagnosis of its own.
        let one = KafkaConfiguration(
            bootstrapServers: address, properties: configuration.properties, isEmbedded: configuration.isEmbedded)
        let handle: RDKafkaHandle
        do {
            let milliseconds = String(max(patience.timeoutMs * 2 / 3, 1000))
            // Silence is a cause too, and would be told after 10 s.
            handle = try RDKafkaHandle(
                type: RD_KAFKA_PRODUCER,
                properties: one.plainProperties + [
                    ("socket.timeout.ms", milliseconds), ("socket.connection.setup.timeout.ms", milliseconds),
                    ("api.version.request.timeout.ms", milliseconds), ("api.version.fallback.ms", "0"),
                ], diagnosis: one.diagnosis, logger: logger)
        } catch {
            reach.said = error.reason
            reach.isMisconfigured = true
            return reach
        }
        let end = ContinuousClock.now + patience
        while true {
            if let brokers = await handle.offPool(deadline: patience, { Self.brokers($0) }) ?? nil {
                reach.brokers = brokers
                return reach
            }
            // What refuses us says more than what does not reach us.
            let known = one.diagnosis.obstacles
            if let first = known.first {
                reach.obstacle = first.obstacle
                reach.said = Self.withoutThread(first.line)
                return reach
            }
            guard ContinuousClock.now < end, !Task.isCancelled else {
                (reach.obstacle, reach.said) = (.silence, "no answer within \(patience)")
                return reach
            }
        }
    }

    /// librdkafka begins its lines with `[thrd:…]: `, and the broker's name.
    private static func withoutThread(_ line: String) -> String {
        guard line.hasPrefix("[thrd:"), let end = line.firstRange(of: "]: ") else { return line }
        return String(line[end.upperBound...])
    }

    private static func brokers(_ handle: OpaquePointer) -> [Int32: String]? {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        guard rd_kafka_metadata(handle, 0, nil, &metadata, 200) == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else {
            return nil
        }
        defer { rd_kafka_metadata_destroy(metadata) }
        var brokers: [Int32: String] = [:]
        for index in 0..<Int(metadata.pointee.broker_cnt) {
            guard let broker = metadata.pointee.brokers?[index], let host = broker.host else { continue }
            brokers[broker.id] = "\(String(cString: host)):\(broker.port)"
        }
        return brokers
    }

    // MARK: Topics

    /// The topics in the order of their names in the call.
    /// - Throws: ``KafkaError`` when the brokers do not answer.
    public func topics(_ names: [String], patience: Duration) async throws(KafkaError) -> [KafkaTopicFacts] {
        try await ask(patience: patience) { handle, left in
            var facts: [KafkaTopicFacts] = []
            for name in names {
                guard let topic = rd_kafka_topic_new(handle, name, nil) else {
                    return .failure(KafkaError(code: "_INVALID_ARG", reason: "topic \(name)"))
                }
                defer { rd_kafka_topic_destroy(topic) }
                var metadata: UnsafePointer<rd_kafka_metadata>?
                let code = rd_kafka_metadata(handle, 0, topic, &metadata, left())
                guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else {
                    return .failure(KafkaError(code, "topic \(name)"))
                }
                defer { rd_kafka_metadata_destroy(metadata) }
                facts.append(Self.facts(metadata.pointee.topics?.pointee, name))
            }
            return .success(facts)
        }
    }

    private static func facts(_ topic: rd_kafka_metadata_topic?, _ name: String) -> KafkaTopicFacts {
        guard let topic else { return KafkaTopicFacts(name: name, error: "UNKNOWN_TOPIC_OR_PART") }
        guard topic.err == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return KafkaTopicFacts(name: name, error: String(cString: rd_kafka_err2name(topic.err)))
        }
        let partitions = (0..<Int(topic.partition_cnt)).compactMap { index in
            topic.partitions.map {
                KafkaTopicFacts.Partition(
                    leader: $0[index].leader, replicas: Int($0[index].replica_cnt), inSync: Int($0[index].isr_cnt))
            }
        }
        return KafkaTopicFacts(name: name, partitions: partitions)
    }

    /// The settings in force of each topic.
    /// - Throws: ``KafkaError`` when the brokers do not tell: `_UNSUPPORTED_FEATURE` of the embedded broker,
    ///   `TOPIC_AUTHORIZATION_FAILED` without the right DESCRIBE_CONFIGS.
    public func settings(of topics: [String], patience: Duration) async throws(KafkaError) -> [String: [String: String]]
    {
        try await ask(patience: patience) { handle, left in
            var resources: [OpaquePointer?] = topics.map { rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, $0) }
            defer { for resource in resources { rd_kafka_ConfigResource_destroy(resource) } }
            return Self.admin(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, left()) { options, queue in
                rd_kafka_DescribeConfigs(handle, &resources, resources.count, options, queue)
            } result: { event in
                var count = 0
                guard
                    let answered = rd_kafka_DescribeConfigs_result_resources(
                        rd_kafka_event_DescribeConfigs_result(event), &count)
                else { return .success([:]) }
                var settings: [String: [String: String]] = [:]
                for index in 0..<count {
                    guard let resource = answered[index], let name = rd_kafka_ConfigResource_name(resource) else {
                        continue
                    }
                    let code = rd_kafka_ConfigResource_error(resource)
                    guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                        return .failure(KafkaError(code, "settings of topic \(String(cString: name))"))
                    }
                    settings[String(cString: name)] = Self.entries(resource)
                }
                return .success(settings)
            }
        }
    }

    private static func entries(_ resource: OpaquePointer) -> [String: String] {
        var count = 0
        guard let entries = rd_kafka_ConfigResource_configs(resource, &count) else { return [:] }
        var values: [String: String] = [:]
        for index in 0..<count {
            guard let entry = entries[index], let name = rd_kafka_ConfigEntry_name(entry),
                let value = rd_kafka_ConfigEntry_value(entry)
            else { continue }
            values[String(cString: name)] = String(cString: value)
        }
        return values
    }

    // MARK: Reading

    /// Fetches from the end of one partition of each topic, and commits nothing.
    /// - Returns: librdkafka's name of the error that a fetch got, by topic.
    /// - Throws: ``KafkaError`` when no client can be made.
    public func refusedReads(of topics: [String], patience: Duration) async throws(KafkaError) -> [String: String] {
        let handle = try RDKafkaHandle(
            type: RD_KAFKA_CONSUMER, properties: configuration.consumerProperties(groupID: "beckon-doctor"),
            diagnosis: KafkaDiagnosis(), logger: logger)
        let milliseconds = patience.timeoutMs
        let answer = await handle.offPool(deadline: patience + .seconds(1)) { pointer in
            let list = PartitionList(capacity: topics.count)
            for topic in topics {
                list.add(TopicPartition(topic: topic, partition: 0)).pointee.offset = Int64(RD_KAFKA_OFFSET_END)
            }
            var refused: [String: String] = [:]
            guard rd_kafka_assign(pointer, list.pointer) == RD_KAFKA_RESP_ERR_NO_ERROR else { return refused }
            let end = DispatchTime.now() + .milliseconds(Int(milliseconds))
            var open = Set(topics)
            // An end of a partition, or a record, says that reading is allowed.
            while !open.isEmpty, DispatchTime.now() < end {
                guard let message = rd_kafka_consumer_poll(pointer, 100) else { continue }
                defer { rd_kafka_message_destroy(message) }
                guard let topic = message.pointee.rkt.flatMap({ rd_kafka_topic_name($0) }).map({ String(cString: $0) })
                else { continue }
                open.remove(topic)
                switch message.pointee.err {
                case RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR__PARTITION_EOF: break
                case let code: refused[topic] = String(cString: rd_kafka_err2name(code))
                }
            }
            rd_kafka_assign(pointer, nil)
            rd_kafka_consumer_close(pointer)
            return refused
        }
        return answer ?? [:]
    }

    // MARK: Asking

    func ask<Value: Sendable>(
        patience: Duration,
        _ body: @escaping @Sendable (OpaquePointer, _ left: () -> Int32) -> Result<Value, KafkaError>
    ) async throws(KafkaError) -> Value {
        let handle = try RDKafkaHandle(
            type: RD_KAFKA_PRODUCER, properties: configuration.plainProperties, diagnosis: KafkaDiagnosis(),
            logger: logger)
        let end = ContinuousClock.now + patience
        let answer = await handle.offPool(deadline: patience + .seconds(1)) { pointer in
            body(pointer) { max((end - ContinuousClock.now).timeoutMs, 1) }
        }
        guard let answer else { throw .deadline("the brokers") }
        return try answer.get()
    }

    static func admin<Value>(
        _ handle: OpaquePointer, _ operation: rd_kafka_admin_op_t, _ milliseconds: Int32,
        _ ask: (_ options: OpaquePointer, _ queue: OpaquePointer) -> Void,
        result: (OpaquePointer) -> Result<Value, KafkaError>
    ) -> Result<Value, KafkaError> {
        guard let options = rd_kafka_AdminOptions_new(handle, operation), let queue = rd_kafka_queue_new(handle) else {
            return .failure(KafkaError(code: "_FAIL", reason: "out of memory"))
        }
        defer {
            rd_kafka_queue_destroy(queue)
            rd_kafka_AdminOptions_destroy(options)
        }
        var text = [CChar](repeating: 0, count: 512)
        rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, &text, text.count)
        ask(options, queue)
        guard let event = rd_kafka_queue_poll(queue, milliseconds) else {
            return .failure(.deadline("the admin API's answer"))
        }
        defer { rd_kafka_event_destroy(event) }
        let code = rd_kafka_event_error(event)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return .failure(
                KafkaError(code, rd_kafka_event_error_string(event).map { String(cString: $0) } ?? "admin API"))
        }
        return result(event)
    }
}
