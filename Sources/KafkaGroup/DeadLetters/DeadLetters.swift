import ChallengeModel
public import KafkaClient
import Logging
public import ServiceSupport
import Wire

/// Writes records that no role can process to `dead-letters`, and waits for the acknowledgement.
/// Use it in readers that handle one record at a time. A reader that writes concurrently uses
/// ``RecordIntake/replacement(of:for:)``.
public struct DeadLetters: Sendable {
    /// The result of writing a dead letter.
    public enum Fate: Hashable, Sendable {
        case written
        /// The broker permanently refuses the dead letter, so it is dropped.
        case refused
    }

    private let producer: KafkaProducer
    private let signer: RecordSigner
    private let log: LimitedLog
    private let count: @Sendable (_ fate: Fate, _ topic: String, _ reason: String) -> Void

    /// - Parameter count: called for counters, with the topic's name without the prefix (`other` for a topic that is
    ///   not Beckon's) and the reason of the dead letter.
    public init(
        producer: KafkaProducer, signer: RecordSigner, log: LimitedLog,
        count: @escaping @Sendable (_ fate: Fate, _ topic: String, _ reason: String) -> Void
    ) {
        self.producer = producer
        self.signer = signer
        self.log = log
        self.count = count
    }

    /// Tries until the broker has acknowledged or permanently refused the dead letter. A refused dead letter is logged
    /// and counted, and delays nothing.
    /// - Returns: false when the task was cancelled first.
    public func send(_ record: ConsumedRecord, reason: String, detail: String) async -> Bool {
        let letter = signer.deadLetter(record, reason: reason, detail: detail)
        let topic = signer.names.topic(named: record.topicPartition.topic)?.rawValue ?? "other"
        let place: Logger.Metadata = .trace(
            of: record.headers,
            [
                "topic": "\(topic)", "partition": "\(record.topicPartition.partition)", "offset": "\(record.offset)",
                "reason": "\(reason)",
            ])
        var backoff = Backoff()
        while !Task.isCancelled {
            do {
                _ = try await producer.send(letter)
                count(.written, topic, reason)
                log.warning("a record went to the dead letters", metadata: place)
                return true
            } catch  where error.isRefusal(of: letter) {
                count(.refused, topic, reason)
                log.error(
                    "dead letters refuse a record; it is dropped",
                    metadata: place.merging(["error": "\(error)"]) { $1 })
                return true
            } catch {
                log.warning("a dead letter waits for Kafka", metadata: place.merging(["error": "\(error)"]) { $1 })
            }
            guard await backoff.wait() else { return false }
        }
        return false
    }
}
