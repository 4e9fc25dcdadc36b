import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport

/// Puts records that nobody can act on where people find them.
struct DeadLetters: Sendable {
    let producer: KafkaProducer
    let signer: RecordSigner
    let metrics: ProducerMetrics
    let logger: Logger

    /// Tries until the broker has acknowledged.
    /// - Returns: false when the task was cancelled first.
    func send(_ record: ConsumedRecord, reason: String, detail: String) async -> Bool {
        let letter = signer.deadLetter(record, reason: reason, detail: detail)
        var backoff = Backoff()
        while !Task.isCancelled {
            do {
                _ = try await producer.send(letter)
                let topic = signer.names.topic(named: record.topicPartition.topic)?.rawValue ?? "other"
                metrics.deadLetter(topic: topic, reason: reason)
                logger.warning(
                    "a record went to the dead letters",
                    metadata: [
                        "topic": "\(topic)", "partition": "\(record.topicPartition.partition)",
                        "offset": "\(record.offset)", "reason": "\(reason)",
                    ])
                return true
            } catch {
                logger.warning("a dead letter waits for Kafka", metadata: ["error": "\(error)"])
            }
            guard await backoff.wait() else { return false }
        }
        return false
    }
}
