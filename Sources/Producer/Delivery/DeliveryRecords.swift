import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import Logging
import PushProviders
import ServiceSupport
import Wire

/// Reads the topics `outcomes` and `receipts`. Their records become facts in the store, for timelines, long polls, and
/// the handling of dead push tokens and refused credentials. A record is done when its fact is on disk. A record that
/// is read again changes nothing.
/// Forged and unreadable records are counted and skipped. The tracker, which reads the same topics, writes their dead
/// letters (docs/decisions/0004).
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
                // The store can never accept this record.
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

    /// - Throws: also for a record whose challenge differs from its key.
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
