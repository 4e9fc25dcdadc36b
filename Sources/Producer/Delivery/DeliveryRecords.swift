import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
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

    let store: ChallengeStore
    let intake: RecordIntake
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let log: StoreLog

    /// - Returns: true when the fact is committed, or there is none; false when the task was cancelled first.
    func handle(_ record: ConsumedRecord) async -> Bool {
        let fact: DeliveryFact
        do throws(RecordFault) {
            fact = try Self.fact(of: record, by: intake)
        } catch {
            if case .forged = error {
                metrics.entrance(Self.name, .forged)
            } else {
                metrics.entrance(Self.name, .unreadable)
            }
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

    /// - Throws: also for a record that says another challenge than its key.
    static func fact(of record: ConsumedRecord, by intake: RecordIntake) throws(RecordFault) -> DeliveryFact {
        let fact: DeliveryFact
        switch intake.signer.names.topic(named: record.topicPartition.topic) {
        case .outcomes:
            switch try intake.open(record, as: OutcomeRecord.self).kind {
            case .push(var outcome):
                outcome.explain()
                fact = .outcome(outcome)
            case .escalation(let escalation): fact = .escalation(escalation)
            case nil: throw unreadable("the record holds none of push, escalation that this version knows")
            }
        case .receipts: fact = .receipt(try intake.open(record))
        default: throw unreadable("the record's topic holds no delivery facts")
        }
        guard record.key.elementsEqual(fact.challengeSID.utf8) else {
            throw unreadable("the key is not the record's challenge_sid")
        }
        return fact
    }

    private static func unreadable(_ detail: String) -> RecordFault {
        .unreadable(RecordFormatError(reason: "field", detail))
    }
}
