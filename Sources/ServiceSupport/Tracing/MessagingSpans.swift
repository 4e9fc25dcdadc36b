package import ChallengeModel
package import KafkaClient
import Tracing

/// Spans of records. `send` and `process` of one record are parent and child, not linked, because every record is
/// processed alone: one challenge is one trace.
extension ServiceTracer {
    /// The span of a record that is written. Its context goes into the record.
    /// - Parameters:
    ///   - key: the record's key; it is shown for topics whose key is a challenge SID.
    ///   - context: the context that the record follows.
    /// - Returns: nil when the trace is not recorded.
    package func send(_ topic: Topic, _ names: TopicNames, key: String, after context: String?) -> ServiceSpan? {
        guard let span = span("send \(names[topic])", .producer, after: context) else { return nil }
        span.describe("send", topic: names[topic])
        if Topic.copartitioned.contains(topic) { span.set(.messagingKey, .string(key)) }
        return span
    }

    /// The span of a record that is processed.
    /// - Parameters:
    ///   - group: the consumer group.
    ///   - context: the record's own.
    /// - Returns: nil when the record's trace is not recorded.
    package func process(_ record: ConsumedRecord, group: String, after context: String?) -> ServiceSpan? {
        guard let span = span("process \(record.topicPartition.topic)", .consumer, after: context) else { return nil }
        span.describe(record, group: group)
        return span
    }

    /// Like ``process(_:group:after:)``, for a topic that backends write to: a record without a context may start a
    /// trace.
    package func receive(_ record: ConsumedRecord, group: String, after context: String?) -> ServiceSpan? {
        if context != nil { return process(record, group: group, after: context) }
        guard samples() else { return nil }
        let span = root("process \(record.topicPartition.topic)", .consumer)
        span.describe(record, group: group)
        return span
    }
}

extension ServiceSpan {
    /// Ends the span of a record that was written.
    package func end(_ result: Result<RecordPosition, KafkaError>) {
        switch result {
        case .success(let position):
            set(.messagingPartition, .string(String(position.topicPartition.partition)))
            set(.messagingOffset, .int64(position.offset))
        case .failure(let error): fail(error.isTooLarge ? "too-large" : "not-acknowledged")
        }
        end()
    }

    fileprivate func describe(_ operation: String, topic: String) {
        set(.messagingSystem, "kafka")
        set(.messagingOperation, .string(operation))
        set(.messagingOperationType, .string(operation))
        set(.messagingTopic, .string(topic))
    }

    fileprivate func describe(_ record: ConsumedRecord, group: String) {
        describe("process", topic: record.topicPartition.topic)
        set(.messagingPartition, .string(String(record.topicPartition.partition)))
        set(.messagingOffset, .int64(record.offset))
        set(.messagingGroup, .string(group))
    }
}
