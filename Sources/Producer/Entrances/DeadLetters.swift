import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport

/// Puts records that nobody can act on where people find them.
struct DeadLetters: Sendable {
    let producer: KafkaProducer
    let signer: RecordSigner
    let metrics: ProducerMetrics
    let log: LimitedLog

    /// Tries until the broker has acknowledged, or has refused it for good: that is logged and counted, and holds up nothing.
    /// - Returns: false when the task was cancelled first.
    func send(_ record: ConsumedRecord, reason: String, detail: String) async -> Bool {
        let letter = signer.deadLetter(record, reason: reason, detail: detail)
        let topic = signer.names.topic(named: record.topicPartition.topic)?.rawValue ?? "other"
        let place: Logger.Metadata = [
            "topic": "\(topic)", "partition": "\(record.topicPartition.partition)", "offset": "\(record.offset)",
            "reason": "\(reason)",
        ]
        var backoff = Backoff()
        while !Task.isCancelled {
            do {
                _ = try await producer.send(letter)
                metrics.deadLetter(topic: topic, reason: reason)
                log.warning("a record went to the dead letters", metadata: place)
                return true
            } catch  where error.isRefusal(of: letter) {
                metrics.deadLetterRefused(topic: topic)
                log.error(
                    "dead letters refuse a record; it is dropped",
                    metadata: place.merging(["error": "\(error)"]) { $1 })
                return true
            } catch {
                log.warning("a dead letter waits for Kafka", metadata: ["error": "\(error)"])
            }
            guard await backoff.wait() else { return false }
        }
        return false
    }
}
