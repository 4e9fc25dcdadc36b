import CRdKafka
import Foundation
import Wire

/// Creates and deletes topics through the cluster's admin API. The embedded broker has no such API; its topics are
/// created at its start.
package struct KafkaTopics: Sendable {
    private let configuration: KafkaConfiguration

    package init(configuration: KafkaConfiguration) { self.configuration = configuration }

    /// Returns when each topic exists and all its partitions have leaders.
    /// - Parameters:
    ///   - topics: number of partitions by name. The number of replicas is the cluster's default.
    ///   - settings: settings for each topic, for example `max.message.bytes`.
    ///   - deadline: deadline of the whole call. Cancelling does not shorten it.
    /// - Throws: ``KafkaError``, `TOPIC_ALREADY_EXISTS` for example, with the topic's name.
    package func create(
        _ topics: [String: Int], settings: [String: String] = [:], deadline: Duration = .seconds(60)
    ) async throws(KafkaError) {
        let end = DispatchTime.now() + deadline.inSeconds
        try await onThreadOfOurOwn { handle in
            var new: [OpaquePointer?] = []
            defer { for one in new { rd_kafka_NewTopic_destroy(one) } }
            var text = [CChar](repeating: 0, count: 512)
            for (name, partitions) in topics {
                guard let one = rd_kafka_NewTopic_new(name, Int32(partitions), -1, &text, text.count) else {
                    return KafkaError(code: "_INVALID_ARG", reason: "topic \(name): \(text.string)")
                }
                new.append(one)
                for (setting, value) in settings { rd_kafka_NewTopic_set_config(one, setting, value) }
            }
            let failure = Self.ask(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS, until: end) { options, queue in
                rd_kafka_CreateTopics(handle, &new, new.count, options, queue)
            } results: { event, count in
                rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), count)
            }
            if let failure { return failure }
            for (name, partitions) in topics {
                while !Self.hasLeaders(handle, name, partitions) {
                    guard DispatchTime.now() < end else { return .deadline("leaders of \(name)") }
                    usleep(20_000)
                }
            }
            return nil
        }
    }

    /// - Throws: ``KafkaError`` for the first topic that could not be deleted.
    package func delete(_ topics: [String], deadline: Duration = .seconds(30)) async throws(KafkaError) {
        let end = DispatchTime.now() + deadline.inSeconds
        try await onThreadOfOurOwn { handle in
            var old: [OpaquePointer?] = topics.map { rd_kafka_DeleteTopic_new($0) }
            defer { for one in old { rd_kafka_DeleteTopic_destroy(one) } }
            return Self.ask(handle, RD_KAFKA_ADMIN_OP_DELETETOPICS, until: end) { options, queue in
                rd_kafka_DeleteTopics(handle, &old, old.count, options, queue)
            } results: { event, count in
                rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), count)
            }
        }
    }

    /// With a client of its own, which ends with the call: nothing of it is left behind.
    private func onThreadOfOurOwn(_ body: @escaping @Sendable (OpaquePointer) -> KafkaError?) async throws(KafkaError) {
        let properties =
            [("bootstrap.servers", configuration.bootstrapServers), ("client.id", "beckon-topics"), ("log_level", "0")]
            + configuration.properties.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        let failure = await withCheckedContinuation { (continuation: CheckedContinuation<KafkaError?, Never>) in
            let thread = Thread { continuation.resume(returning: Self.run(properties, body)) }
            thread.name = "beckon-kafka-topics"
            thread.start()
        }
        if let failure { throw failure }
    }

    private static func run(_ properties: [(String, String)], _ body: (OpaquePointer) -> KafkaError?) -> KafkaError? {
        var text = [CChar](repeating: 0, count: 512)
        guard let conf = rd_kafka_conf_new() else { return KafkaError(code: "_FAIL", reason: "out of memory") }
        for (name, value) in properties
        where rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK {
            rd_kafka_conf_destroy(conf)
            return KafkaError(code: "_INVALID_ARG", reason: "Kafka property \(name): \(text.string)")
        }
        guard let handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, &text, text.count) else {
            rd_kafka_conf_destroy(conf)
            return KafkaError(code: "_FAIL", reason: text.string)
        }
        defer { rd_kafka_destroy(handle) }
        return body(handle)
    }

    private static func ask(
        _ handle: OpaquePointer, _ operation: rd_kafka_admin_op_t, until end: DispatchTime,
        _ ask: (_ options: OpaquePointer, _ queue: OpaquePointer) -> Void,
        results: (OpaquePointer, UnsafeMutablePointer<Int>) -> UnsafeMutablePointer<OpaquePointer?>?
    ) -> KafkaError? {
        let left = Int32(clamping: (end.uptimeNanoseconds &- DispatchTime.now().uptimeNanoseconds) / 1_000_000)
        guard let options = rd_kafka_AdminOptions_new(handle, operation),
            let queue = rd_kafka_queue_new(handle)
        else { return KafkaError(code: "_FAIL", reason: "out of memory") }
        defer {
            rd_kafka_queue_destroy(queue)
            rd_kafka_AdminOptions_destroy(options)
        }
        var text = [CChar](repeating: 0, count: 512)
        // Until all brokers know it, as far as the controller can tell.
        rd_kafka_AdminOptions_set_operation_timeout(options, min(left, 20_000), &text, text.count)
        rd_kafka_AdminOptions_set_request_timeout(options, left, &text, text.count)
        ask(options, queue)
        guard let event = rd_kafka_queue_poll(queue, left) else { return .deadline("the admin API's answer") }
        defer { rd_kafka_event_destroy(event) }
        let code = rd_kafka_event_error(event)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return KafkaError(code, rd_kafka_event_error_string(event).map { String(cString: $0) } ?? "admin API")
        }
        var count = 0
        guard let topics = results(event, &count) else { return nil }
        for index in 0..<count {
            let code = rd_kafka_topic_result_error(topics[index])
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                let name = rd_kafka_topic_result_name(topics[index]).map { String(cString: $0) } ?? ""
                return KafkaError(code, "topic \(name)")
            }
        }
        return nil
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
}
