import ChallengeModel
import KafkaClient
import ServiceSupport

/// From bytes to facts: MAC, place, form. Pure but for the keys.
struct RecordReader: Sendable {
    enum Refusal: String, Sendable, CaseIterable {
        /// No valid MAC.
        case forged
        /// Cannot be read.
        case poison
        /// Stands in a partition that its key does not belong to.
        case misplaced
        /// Says what cannot be: times in the future, attempts that nobody makes.
        case implausible
        /// Names another service than its challenge's.
        case foreign
    }

    let signer: RecordSigner
    /// Of each of the four topics.
    let partitions: Int

    /// Its key belongs to another partition.
    func isMisplaced(_ record: ConsumedRecord) -> Bool {
        Murmur2.partition(key: record.key, partitions: partitions) != record.topicPartition.partition
    }

    /// - Parameter topic: index in `Topic.copartitioned`.
    /// - Returns: the item, and why it was refused, for the metric.
    func read(_ record: ConsumedRecord, topic: Int) -> (TrackedPartition.Item, Refusal?) {
        let kind = Topic.copartitioned[topic]
        // Of `challenges` the dispatcher writes the dead letters and puts right what is misplaced: one of the two roles that
        // read every topic has to, see docs/decisions/0004.
        let isOurs = kind != .challenges
        func refused(_ replacement: @autoclosure () -> ProducerRecord, _ refusal: Refusal) -> (
            TrackedPartition.Item, Refusal?
        ) {
            (.refused(isOurs ? replacement() : nil, offset: record.offset), refusal)
        }
        guard signer.isAuthentic(record) else {
            let refusal = signer.refusal(of: record)
            return refused(signer.deadLetter(record, reason: refusal.reason, detail: refusal.detail), .forged)
        }
        if isMisplaced(record) {
            let tooOften = RecordSigner.movedTooOften
            return refused(
                signer.moved(record)
                    ?? signer.deadLetter(record, reason: tooOften.reason, detail: tooOften.detail), .misplaced)
        }
        let fact: Fact
        do throws(RecordFormatError) {
            fact = try Fact(kind, record)
        } catch {
            return refused(
                signer.deadLetter(record, reason: error.reason, detail: error.description),
                error.reason == "range" ? .implausible : .poison)
        }
        do throws(RecordFormatError) {
            try Plausibility.check(fact.kind, recordedMs: record.timestampMs)
        } catch {
            // The dispatcher does not look at this, so the dead letter is ours on every topic.
            let letter = signer.deadLetter(record, reason: error.reason, detail: error.description)
            return (.refused(letter, offset: record.offset), .implausible)
        }
        return (.fact(fact, record), nil)
    }
}
