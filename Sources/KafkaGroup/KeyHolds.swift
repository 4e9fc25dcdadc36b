import ChallengeModel
public import KafkaClient
public import Logging
public import ServiceSupport
import Synchronization

/// Partitions whose next record names a record key that this process does not have.
///
/// An unknown key is not a wrong code: after a rotation in the wrong order the record is genuine. Its partition is held in front
/// of it, unread and uncommitted, until a process with the key takes the partition over. Readiness and the log name the key. A
/// hold ends by itself after an hour, the longest life of a challenge: then the record goes to the dead letters, so that one
/// written by a stranger cannot hold a partition for ever.
public final class KeyHolds: Sendable {
    /// The name of the readiness check.
    public static let check = "record-keys"
    /// No challenge lives longer (60 minutes): a record that is older has nothing to say to anybody.
    public static let longest: Duration = .seconds(3600)

    private struct Hold {
        let offset: Int64
        let keyID: String
        let since: ContinuousClock.Instant
    }

    private let signer: RecordSigner
    private let readiness: Readiness
    private let logger: Logger
    private let longest: Duration
    private let nowMs: @Sendable () -> Int64
    private let onChange: @Sendable (Int) -> Void
    private let holds = Mutex<[TopicPartition: Hold]>([:])
    /// So that nothing is locked per record while nothing is held.
    private let count = Atomic(0)

    /// - Parameters:
    ///   - longest: how long a record is held, and how old by its time stamp it may be.
    ///   - nowMs: epoch milliseconds.
    ///   - onChange: gets the number of partitions held, for a gauge. Called under a lock.
    public init(
        signer: RecordSigner, readiness: Readiness, logger: Logger, longest: Duration = KeyHolds.longest,
        nowMs: @escaping @Sendable () -> Int64, onChange: @escaping @Sendable (Int) -> Void
    ) {
        self.signer = signer
        self.readiness = readiness
        self.logger = logger
        self.longest = longest
        self.nowMs = nowMs
        self.onChange = onChange
        onChange(0)
    }

    /// Whether the partition has to wait in front of this record, which is asked again until it does not. The record is then
    /// what its code says; one whose hold has ended is not authentic.
    /// - Parameter record: the next of its partition.
    public func mustWait(before record: ConsumedRecord) -> Bool {
        guard let keyID = signer.unknownKeyID(of: record) else {
            if count.load(ordering: .relaxed) > 0 { end(record.topicPartition) }
            return false
        }
        let now = ContinuousClock.now
        let (isHeld, isNew) = holds.withLock { holds in
            let known = holds[record.topicPartition].flatMap { $0.offset == record.offset ? $0 : nil }
            let hold = known ?? Hold(offset: record.offset, keyID: keyID, since: now)
            // A time stamp is its writer's word, so it can shorten the hold and not prolong it.
            let ageMs = record.timestampMs > 0 ? nowMs() - record.timestampMs : 0
            guard now - hold.since < longest, .milliseconds(ageMs) < longest else { return (false, false) }
            guard known == nil else { return (true, false) }
            holds[record.topicPartition] = hold
            show(holds)
            return (true, true)
        }
        if !isHeld { end(record.topicPartition) }
        if isNew {
            logger.error(
                "a partition is held: its next record is signed with a record key that this role does not have",
                metadata: [
                    "topic": "\(record.topicPartition.topic)", "partition": "\(record.topicPartition.partition)",
                    "offset": "\(record.offset)", "key_id": "\(keyID)",
                ])
        }
        return isHeld
    }

    /// The partition is another's now, or goes on.
    public func end(_ partition: TopicPartition) {
        holds.withLock { holds in
            guard holds.removeValue(forKey: partition) != nil else { return }
            show(holds)
        }
    }

    private func show(_ holds: [TopicPartition: Hold]) {
        count.store(holds.count, ordering: .relaxed)
        onChange(holds.count)
        guard !holds.isEmpty else { return readiness.pass(Self.check) }
        let ids = Set(holds.values.map(\.keyID)).sorted().prefix(3).joined(separator: ", ")
        let places = holds.keys.sorted().prefix(5).map { "\($0)" }.joined(separator: ", ")
        let more = holds.count > 5 ? " and \(holds.count - 5) more" : ""
        readiness.fail(
            Self.check,
            "held: \(places)\(more); their next records are signed with key \(ids): add it to BECKON_RECORD_KEYS and restart"
        )
    }
}
