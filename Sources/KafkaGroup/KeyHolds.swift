import ChallengeModel
public import KafkaClient
public import Logging
public import ServiceSupport
import Synchronization
import Wire

/// The partitions that are held because their next record is signed with a record key that this process does not have.
/// An unknown key does not mean a wrong MAC: after a rotation in the wrong order the record is genuine. The partition
/// therefore stops before this record, and the record stays unread and uncommitted, until a process with the key gets
/// the partition. Readiness and the log name the key. A partition is held for an hour in a day, the longest life of a
/// challenge. Its records under unknown keys then go to the dead letters, so that forged records cannot hold a partition
/// for longer, however many they are.
public final class KeyHolds: Sendable {
    /// The name of the readiness check.
    public static let check = "record-keys"
    /// The longest life of a challenge (60 minutes). An older record has no effect any more.
    public static let longest: Duration = .seconds(3600)

    /// The time in which a partition is held for ``longest`` at most.
    private static let window: Duration = .seconds(86_400)

    private struct Hold {
        let offset: Int64
        let keyID: String
        let since: ContinuousClock.Instant
    }

    /// How long a partition was held, until the end of the window that began with its first hold.
    private struct Spent {
        var time: Duration = .zero
        let until: ContinuousClock.Instant
    }

    private struct State {
        var holds: [TopicPartition: Hold] = [:]
        /// At most one for each partition that this process has owned.
        var spent: [TopicPartition: Spent] = [:]

        mutating func end(_ partition: TopicPartition, _ now: ContinuousClock.Instant) -> Bool {
            guard let hold = holds.removeValue(forKey: partition) else { return false }
            var sum = spent[partition].flatMap { now < $0.until ? $0 : nil } ?? Spent(until: hold.since + window)
            sum.time += now - hold.since
            spent[partition] = sum
            return true
        }

        func spent(_ partition: TopicPartition, _ now: ContinuousClock.Instant) -> Duration {
            spent[partition].flatMap { now < $0.until ? $0.time : nil } ?? .zero
        }
    }

    private let signer: RecordSigner
    private let readiness: Readiness
    private let logger: Logger
    private let longest: Duration
    private let nowMs: @Sendable () -> Int64
    private let onChange: @Sendable (Int) -> Void
    private let state = Mutex(State())
    /// The number of holds. While it is 0, records take no lock.
    private let count = Atomic(0)

    /// - Parameters:
    ///   - longest: how long a partition is held, and how old its record may be by its timestamp.
    ///   - nowMs: epoch milliseconds.
    ///   - onChange: called under a lock with the number of held partitions, for a gauge.
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

    /// Whether the partition must wait before this record. Call it again until it returns false. The MAC then decides
    /// about the record; a record whose hold has ended is not authentic.
    /// - Parameter record: the next record of its partition.
    public func mustWait(before record: ConsumedRecord) -> Bool {
        guard let keyID = signer.unknownKeyID(of: record) else {
            if count.load(ordering: .relaxed) > 0 { end(record.topicPartition) }
            return false
        }
        let now = ContinuousClock.now
        let (isHeld, isNew) = state.withLock { state in
            let known = state.holds[record.topicPartition]
            let since = known?.since ?? now
            // The writer chooses the timestamp, so it may shorten the hold but not prolong it.
            let ageMs = Timestamp.range.contains(record.timestampMs) ? nowMs() - record.timestampMs : 0
            guard state.spent(record.topicPartition, now) + (now - since) < longest, .milliseconds(ageMs) < longest
            else { return (false, false) }
            guard known?.offset != record.offset else { return (true, false) }
            state.holds[record.topicPartition] = Hold(offset: record.offset, keyID: keyID, since: since)
            show(state.holds)
            return (true, true)
        }
        if !isHeld { end(record.topicPartition) }
        if isNew {
            logger.error(
                "a partition is held: its next record is signed with a record key that this role does not have",
                metadata: .trace(
                    of: record.headers,
                    [
                        "topic": "\(record.topicPartition.topic)", "partition": "\(record.topicPartition.partition)",
                        "offset": "\(record.offset)", "key_id": "\(keyID)",
                    ]))
        }
        return isHeld
    }

    /// Ends the hold, because another member has the partition or reading continues.
    public func end(_ partition: TopicPartition) {
        state.withLock { state in
            guard state.end(partition, .now) else { return }
            show(state.holds)
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
