public import ChallengeModel
public import KafkaClient
public import ServiceSupport

/// The reason why a record of a signed topic is not accepted.
public enum RecordFault: Error, Equatable, Sendable {
    /// Its `beckon-mac` is missing or wrong.
    case forged(RecordFormatError)
    /// Its key belongs to another partition. The record is written again to that partition.
    case misplaced
    /// It was moved ``RecordSigner/mostMoves`` times and is again in a wrong partition.
    case movedTooOften
    /// Its key or its value cannot be read.
    case unreadable(RecordFormatError)

    /// The error in its dead letter; nil for a record that is moved instead.
    public var deadLetter: RecordFormatError? {
        switch self {
        case .forged(let error), .unreadable(let error): error
        case .misplaced: nil
        case .movedTooOften:
            RecordFormatError(reason: RecordSigner.movedTooOften.reason, RecordSigner.movedTooOften.detail)
        }
    }
}

/// Checks every record of a signed topic before it has any effect, in this order: MAC, key, partition, format. The role
/// that reads the record checks the contents of its fields.
/// A record with an unknown record key must be held first, see ``KeyHolds``.
public struct RecordIntake: Sendable {
    public let signer: RecordSigner
    private let partitions: Int?

    /// - Parameter partitions: the number of partitions of each of the four topics keyed by challenge SID; nil: the
    ///   reader does not need records in their right partition and moves none.
    public init(signer: RecordSigner, partitions: Int?) {
        self.signer = signer
        self.partitions = partitions
    }

    /// Whether the key of a record belongs to another partition. Before a record is moved,
    /// ``TopicWatch/isConfirmed(since:)`` must hold.
    public func isMisplaced(_ record: ConsumedRecord) -> Bool {
        guard let partitions else { return false }
        return Murmur2.partition(key: record.key, partitions: partitions) != record.topicPartition.partition
    }

    /// Checks everything but the value.
    public func admit(_ record: ConsumedRecord) throws(RecordFault) {
        // The MAC is checked first, so that a forged record is not moved to its right partition either.
        guard signer.isAuthentic(record) else {
            let refusal = signer.refusal(of: record)
            throw .forged(RecordFormatError(reason: refusal.reason, refusal.detail))
        }
        guard !record.key.isEmpty else {
            throw .unreadable(
                RecordFormatError(reason: "field", "the key is empty; expected the challenge's SID"))
        }
        guard isMisplaced(record) else { return }
        throw signer.moved(record) == nil ? .movedTooOften : .misplaced
    }

    /// Checks the record and decodes its value.
    @inlinable
    public func open<Value: RecordValue>(
        _ record: ConsumedRecord, as type: Value.Type = Value.self
    ) throws(RecordFault) -> Value {
        try admit(record)
        do throws(RecordFormatError) {
            return try Value(value: record.value, contentType: record.headers.text(of: ContentType.headerName))
        } catch {
            throw .unreadable(error)
        }
    }

    /// The record to write instead of a record that is not accepted: the same record for its right partition, or its
    /// dead letter.
    public func replacement(of record: ConsumedRecord, for fault: RecordFault) -> ProducerRecord {
        guard let letter = fault.deadLetter else { return moved(record) }
        return deadLetter(record, letter)
    }

    /// The same record for the partition that its key belongs to, or its dead letter when it was moved too often.
    public func moved(_ record: ConsumedRecord) -> ProducerRecord {
        let tooOften = RecordSigner.movedTooOften
        return signer.moved(record) ?? signer.deadLetter(record, reason: tooOften.reason, detail: tooOften.detail)
    }

    /// The dead letter of a record that the role refuses because of its contents.
    public func deadLetter(_ record: ConsumedRecord, _ error: RecordFormatError) -> ProducerRecord {
        signer.deadLetter(record, reason: error.reason, detail: error.description)
    }
}
