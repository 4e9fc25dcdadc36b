import ChallengeModel
import KafkaClient
import KafkaGroup

/// Reads facts from records: it checks MAC, partition and format. A pure value except for the keys.
struct RecordReader: Sendable {
    enum Refusal: String, Sendable, CaseIterable {
        /// The record has no valid MAC.
        case forged
        /// The record cannot be read.
        case poison
        /// The record is in a partition that does not belong to its key.
        case misplaced
        /// The record contains impossible values: times in the future, or attempts that no tracker makes.
        case implausible
        /// The record names another service than its challenge's.
        case foreign
    }

    let intake: RecordIntake

    /// - Parameter topic: index in `Topic.copartitioned`.
    /// - Returns: the item, and the reason of a refusal for the metric.
    func read(_ record: ConsumedRecord, topic: Int) -> (TrackedPartition.Item, Refusal?) {
        let kind = Topic.copartitioned[topic]
        do throws(RecordFault) {
            try intake.admit(record)
            let fact = try Self.fact(kind, record)
            do throws(RecordFormatError) {
                try Plausibility.check(fact.kind, recordedMs: record.timestampMs)
            } catch {
                // The dispatcher does not check this, so the tracker writes the dead letter on every topic.
                return (.refused(intake.deadLetter(record, error), offset: record.offset), .implausible)
            }
            return (.fact(fact, record), nil)
        } catch {
            // For `challenges`, the dispatcher writes the dead letters and moves misplaced records. Only one of the two
            // roles that read the topic may do this, see docs/decisions/0004.
            let replacement = kind == .challenges ? nil : intake.replacement(of: record, for: error)
            return (.refused(replacement, offset: record.offset), Refusal(error))
        }
    }

    private static func fact(_ topic: Topic, _ record: ConsumedRecord) throws(RecordFault) -> Fact {
        do throws(RecordFormatError) { return try Fact(topic, record) } catch { throw .unreadable(error) }
    }
}

extension RecordReader.Refusal {
    fileprivate init(_ fault: RecordFault) {
        switch fault {
        case .forged: self = .forged
        case .misplaced, .movedTooOften: self = .misplaced
        case .unreadable(let error): self = error.reason == "range" ? .implausible : .poison
        }
    }
}
