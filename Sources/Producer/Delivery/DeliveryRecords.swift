import ChallengeModel
import ChallengeStore
import KafkaClient
import Logging
import PushProviders
import ServiceSupport

/// Topics `outcomes` and `receipts`: what they say becomes facts in the store, for timelines and long polls, and moves what follows
/// from dead push tokens and refused credentials. A record is done when its fact is on disk; read again it changes nothing.
///
/// What is forged or cannot be read is counted and passed over: the tracker, which reads the same topics, writes the dead letter
/// (docs/decisions/0004).
struct DeliveryRecords: Sendable {
    static let name = "delivery"

    let store: any ChallengeStore
    let signer: RecordSigner
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let log: StoreLog

    /// - Returns: true when the fact is committed, or there is none; false when the task was cancelled first.
    func handle(_ record: ConsumedRecord) async -> Bool {
        guard signer.isAuthentic(record) else {
            metrics.entrance(Self.name, .forged)
            return true
        }
        guard let fact = Self.fact(of: record, topic: signer.names.topic(named: record.topicPartition.topic)) else {
            metrics.entrance(Self.name, .unreadable)
            return true
        }
        var backoff = Backoff()
        while !Task.isCancelled {
            do {
                let isNew = try await store.recordDelivery(fact, nowMs: clock())
                metrics.entrance(Self.name, isNew ? .accepted : .repeated)
                return true
            } catch StoreError.nulInText {
                // No store can keep it, however often it is tried.
                metrics.entrance(Self.name, .unreadable)
                return true
            } catch {
                log.warning("a delivery fact waits for the store", error)
            }
            metrics.entranceRetry(Self.name)
            guard await backoff.wait() else { return false }
        }
        return false
    }

    /// Nil for what cannot be read, or says another challenge than its key.
    static func fact(of record: ConsumedRecord, topic: Topic?) -> DeliveryFact? {
        let contentType = record.headers.text(of: ContentType.headerName)
        let fact: DeliveryFact
        switch topic {
        case .outcomes:
            switch (try? OutcomeRecord(value: record.value, contentType: contentType))?.kind {
            case .push(var outcome):
                outcome.explain()
                fact = .outcome(outcome)
            case .escalation(let escalation): fact = .escalation(escalation)
            case nil: return nil
            }
        case .receipts:
            guard let receipt = try? Receipt(value: record.value, contentType: contentType) else { return nil }
            fact = .receipt(receipt)
        default: return nil
        }
        return record.key.elementsEqual(fact.challengeSID.utf8) ? fact : nil
    }
}
