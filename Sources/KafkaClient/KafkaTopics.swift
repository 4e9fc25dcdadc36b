import CRdKafka
import Foundation
import Logging
import Wire

/// Creates, describes and deletes topics through the cluster's admin API. The embedded broker has no such API; its
/// topics are created at its start.
package struct KafkaTopics: Sendable {
    /// A topic to create.
    package struct Specification: Sendable, Hashable {
        package var name: String
        package var partitions: Int
        /// Nil: the cluster's default.
        package var replicas: Int?
        /// Settings, for example `max.message.bytes`.
        package var settings: [String: String]

        package init(name: String, partitions: Int, replicas: Int? = nil, settings: [String: String] = [:]) {
            self.name = name
            self.partitions = partitions
            self.replicas = replicas
            self.settings = settings
        }
    }

    /// A topic as the cluster has it.
    package struct Description: Sendable, Hashable {
        package var partitions: Int
        /// The smallest number of replicas of a partition.
        package var replicas: Int
        /// All settings, also those with their default.
        package var settings: [String: String]

        package init(partitions: Int, replicas: Int, settings: [String: String]) {
            self.partitions = partitions
            self.replicas = replicas
            self.settings = settings
        }
    }

    private let configuration: KafkaConfiguration

    package init(configuration: KafkaConfiguration) { self.configuration = configuration }

    /// Returns when each topic exists and all its partitions have leaders.
    /// - Parameters:
    ///   - topics: number of partitions by name. The number of replicas is the cluster's default.
    ///   - settings: settings for each topic.
    ///   - deadline: deadline of the whole call. Cancelling does not shorten it.
    /// - Throws: ``KafkaError``, `TOPIC_ALREADY_EXISTS` for example, with the topic's name.
    package func create(
        _ topics: [String: Int], settings: [String: String] = [:], deadline: Duration = .seconds(60)
    ) async throws(KafkaError) {
        let failures = try await create(
            topics.map { Specification(name: $0.key, partitions: $0.value, settings: settings) }, deadline: deadline)
        if let failure = failures.sorted(by: { $0.key < $1.key }).first?.value { throw failure }
    }

    /// Returns when each topic that could be created exists and all its partitions have leaders.
    /// - Returns: the errors of the others by name.
    /// - Throws: ``KafkaError`` when the cluster does not answer.
    package func create(
        _ topics: [Specification], deadline: Duration = .seconds(60)
    ) async throws(KafkaError) -> [String: KafkaError] {
        guard !topics.isEmpty else { return [:] }
        let end = DispatchTime.now() + deadline.inSeconds
        return try await onThreadOfOurOwn(deadline: deadline) { handle in
            var new: [OpaquePointer?] = []
            defer { for one in new { rd_kafka_NewTopic_destroy(one) } }
            var text = [CChar](repeating: 0, count: 512)
            for topic in topics {
                guard
                    let one = rd_kafka_NewTopic_new(
                        topic.name, Int32(topic.partitions), Int32(topic.replicas ?? -1), &text, text.count)
                else {
                    return .failure(KafkaError(code: "_INVALID_ARG", reason: "topic \(topic.name): \(text.string)"))
                }
                new.append(one)
                for (setting, value) in topic.settings { rd_kafka_NewTopic_set_config(one, setting, value) }
            }
            let answer = Self.ask(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS, until: end) { options, queue in
                rd_kafka_CreateTopics(handle, &new, new.count, options, queue)
            } read: { event in
                Self.failures { rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &$0) }
            }
            guard case .success(let failures) = answer else { return answer }
            for topic in topics where failures[topic.name] == nil {
                while !Self.hasLeaders(handle, topic.name, topic.partitions) {
                    guard DispatchTime.now() < end else { return .failure(.deadline("leaders of \(topic.name)")) }
                    usleep(20_000)
                }
            }
            return .success(failures)
        }
    }

    /// - Throws: ``KafkaError`` for the first topic that could not be deleted.
    package func delete(_ topics: [String], deadline: Duration = .seconds(30)) async throws(KafkaError) {
        let end = DispatchTime.now() + deadline.inSeconds
        let failures = try await onThreadOfOurOwn(deadline: deadline) { handle in
            var old: [OpaquePointer?] = topics.map { rd_kafka_DeleteTopic_new($0) }
            defer { for one in old { rd_kafka_DeleteTopic_destroy(one) } }
            return Self.ask(handle, RD_KAFKA_ADMIN_OP_DELETETOPICS, until: end) { options, queue in
                rd_kafka_DeleteTopics(handle, &old, old.count, options, queue)
            } read: { event in
                Self.failures { rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &$0) }
            }
        }
        if let failure = failures.sorted(by: { $0.key < $1.key }).first?.value { throw failure }
    }

    /// Partitions, replicas and settings of those topics that exist.
    /// - Throws: ``KafkaError`` when the cluster does not answer, or does not show a topic to this user: the list of all
    ///   topics lacks those that the user may not describe, as if they did not exist.
    package func describe(
        _ names: [String], deadline: Duration = .seconds(30)
    ) async throws(KafkaError) -> [String: Description] {
        let end = DispatchTime.now() + deadline.inSeconds
        return try await onThreadOfOurOwn(deadline: deadline) { handle in
            let settings: [String: [String: String]]
            switch Self.settings(handle, names.sorted(), until: end) {
            case .failure(let error): return .failure(error)
            case .success(let found): settings = found
            }
            // A broker may learn of a new topic later than the one that has told its settings.
            let patience = min(end, DispatchTime.now() + 5)
            while true {
                let layouts: [String: (partitions: Int, replicas: Int)]
                switch Self.layouts(handle, Set(settings.keys), until: end) {
                case .failure(let error): return .failure(error)
                case .success(let found): layouts = found
                }
                guard let hidden = settings.keys.filter({ layouts[$0] == nil }).min() else {
                    return .success(
                        settings.reduce(into: [:]) { described, topic in
                            guard let layout = layouts[topic.key] else { return }
                            described[topic.key] = Description(
                                partitions: layout.partitions, replicas: layout.replicas, settings: topic.value)
                        })
                }
                guard DispatchTime.now() < patience else {
                    return .failure(KafkaError(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "topic \(hidden)"))
                }
                usleep(100_000)
            }
        }
    }

    // MARK: - librdkafka

    /// Runs `body` with a client of its own, which ends with the call: nothing of it is left behind.
    private func onThreadOfOurOwn<Value: Sendable>(
        deadline: Duration, _ body: @escaping @Sendable (OpaquePointer) -> Result<Value, KafkaError>
    ) async throws(KafkaError) -> Value {
        let properties =
            [("bootstrap.servers", configuration.bootstrapServers), ("client.id", "beckon-topics"), ("log_level", "6")]
            + configuration.properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let (result, end) = try await run(properties, deadline: deadline, body)
        await end.empty(deadline: .seconds(5))
        return try result.get()
    }

    private func run<Value: Sendable>(
        _ properties: [(String, String)], deadline: Duration,
        _ body: @escaping @Sendable (OpaquePointer) -> Result<Value, KafkaError>
    ) async throws(KafkaError) -> (Result<Value, KafkaError>, DispatchGroup) {
        let handle = try RDKafkaHandle(
            type: RD_KAFKA_PRODUCER, properties: properties, diagnosis: configuration.diagnosis,
            logger: Logger(label: "beckon-topics") { _ in SwiftLogNoOpLogHandler() })
        var result = await handle.offPool(deadline: deadline + .seconds(5), body) ?? .failure(.deadline("admin API"))
        // librdkafka's codes say only that nobody answered.
        if case .failure(let error) = result, error.code.hasPrefix("_"), let cause = configuration.diagnosis.cause {
            result = .failure(KafkaError(code: error.code, reason: cause))
        }
        return (result, handle.end)
    }

    private static func ask<Value>(
        _ handle: OpaquePointer, _ operation: rd_kafka_admin_op_t, until end: DispatchTime,
        _ ask: (_ options: OpaquePointer, _ queue: OpaquePointer) -> Void, read: (_ event: OpaquePointer) -> Value
    ) -> Result<Value, KafkaError> {
        let left = left(until: end)
        guard let options = rd_kafka_AdminOptions_new(handle, operation),
            let queue = rd_kafka_queue_new(handle)
        else { return .failure(KafkaError(code: "_FAIL", reason: "out of memory")) }
        defer {
            rd_kafka_queue_destroy(queue)
            rd_kafka_AdminOptions_destroy(options)
        }
        var text = [CChar](repeating: 0, count: 512)
        // Until all brokers know it, as far as the controller can tell.
        if operation != RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS {
            rd_kafka_AdminOptions_set_operation_timeout(options, min(left, 20_000), &text, text.count)
        }
        rd_kafka_AdminOptions_set_request_timeout(options, left, &text, text.count)
        ask(options, queue)
        guard let event = rd_kafka_queue_poll(queue, left) else { return .failure(.deadline("the admin API's answer")) }
        defer { rd_kafka_event_destroy(event) }
        let code = rd_kafka_event_error(event)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return .failure(
                KafkaError(code, rd_kafka_event_error_string(event).map { String(cString: $0) } ?? "admin API"))
        }
        return .success(read(event))
    }

    private static func left(until end: DispatchTime) -> Int32 {
        let now = DispatchTime.now()
        return now < end ? Int32(clamping: (end.uptimeNanoseconds - now.uptimeNanoseconds) / 1_000_000) : 0
    }

    private static func failures(
        _ results: (inout Int) -> UnsafeMutablePointer<OpaquePointer?>?
    ) -> [String: KafkaError] {
        var count = 0
        guard let topics = results(&count) else { return [:] }
        var failures: [String: KafkaError] = [:]
        for index in 0..<count {
            let code = rd_kafka_topic_result_error(topics[index])
            guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            let name = rd_kafka_topic_result_name(topics[index]).map { String(cString: $0) } ?? ""
            // The broker's own words say why: "only 1 broker(s) are registered".
            let words = rd_kafka_topic_result_error_string(topics[index]).map { String(cString: $0) }
            failures[name] = KafkaError(
                code: String(cString: rd_kafka_err2name(code)),
                reason: "topic \(name): \(words ?? String(cString: rd_kafka_err2str(code)))")
        }
        return failures
    }

    private static func hasLeaders(_ handle: OpaquePointer, _ topic: String, _ partitions: Int) -> Bool {
        guard let reference = rd_kafka_topic_new(handle, topic, nil) else { return false }
        defer { rd_kafka_topic_destroy(reference) }
        var metadata: UnsafePointer<rd_kafka_metadata>?
        guard rd_kafka_metadata(handle, 0, reference, &metadata, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR,
            let metadata
        else { return false }
        defer { rd_kafka_metadata_destroy(metadata) }
        guard metadata.pointee.topic_cnt == 1, let found = metadata.pointee.topics?.pointee,
            found.err == RD_KAFKA_RESP_ERR_NO_ERROR, found.partition_cnt == partitions
        else { return false }
        return (0..<partitions).allSatisfy { found.partitions[$0].leader >= 0 }
    }

    /// Partitions and replicas of those of the topics that exist.
    private static func layouts(
        _ handle: OpaquePointer, _ names: Set<String>, until end: DispatchTime
    ) -> Result<[String: (partitions: Int, replicas: Int)], KafkaError> {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        // All topics of the cluster: asking for one by name could create it.
        let code = rd_kafka_metadata(handle, 1, nil, &metadata, left(until: end))
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else {
            return .failure(KafkaError(code, "topics of the cluster"))
        }
        defer { rd_kafka_metadata_destroy(metadata) }
        var layouts: [String: (partitions: Int, replicas: Int)] = [:]
        for index in 0..<Int(metadata.pointee.topic_cnt) {
            let topic = metadata.pointee.topics[index]
            let name = String(cString: topic.topic)
            guard names.contains(name), topic.err == RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            let replicas = (0..<Int(topic.partition_cnt)).map { Int(topic.partitions[$0].replica_cnt) }
            layouts[name] = (Int(topic.partition_cnt), replicas.min() ?? 0)
        }
        return .success(layouts)
    }

    /// Settings of those of the topics that exist.
    private static func settings(
        _ handle: OpaquePointer, _ names: [String], until end: DispatchTime
    ) -> Result<[String: [String: String]], KafkaError> {
        var resources: [OpaquePointer?] = names.map { rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, $0) }
        defer { for resource in resources { rd_kafka_ConfigResource_destroy(resource) } }
        return ask(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, until: end) { options, queue in
            rd_kafka_DescribeConfigs(handle, &resources, resources.count, options, queue)
        } read: { event -> Result<[String: [String: String]], KafkaError> in
            var count = 0
            guard
                let found = rd_kafka_DescribeConfigs_result_resources(
                    rd_kafka_event_DescribeConfigs_result(event), &count)
            else { return .success([:]) }
            var settings: [String: [String: String]] = [:]
            for index in 0..<count {
                let name = rd_kafka_ConfigResource_name(found[index]).map { String(cString: $0) } ?? ""
                let code = rd_kafka_ConfigResource_error(found[index])
                if code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART { continue }
                guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                    return .failure(KafkaError(code, "settings of topic \(name)"))
                }
                var entries = 0
                let configs = rd_kafka_ConfigResource_configs(found[index], &entries)
                for place in 0..<entries {
                    guard let entry = configs?[place], let key = rd_kafka_ConfigEntry_name(entry) else { continue }
                    let value = rd_kafka_ConfigEntry_value(entry).map { String(cString: $0) }
                    settings[name, default: [:]][String(cString: key)] = value
                }
            }
            return .success(settings)
        }.flatMap { $0 }
    }
}
