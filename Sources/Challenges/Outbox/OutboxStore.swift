public import ChallengeModel

/// The rows that wait for Kafka. A relay claims them under a lease, so that no transaction stays open while Kafka is
/// asked.
public protocol OutboxStore: Sendable {
    /// Claims the rows that `scan` selects for `owner`, until the lease ends.
    /// - Returns: the rows, oldest first, and the scan in its final state.
    func claimOutbox(
        _ scan: OutboxScan, owner: String, leaseMs: Int64, nowMs: Int64
    ) async throws -> (rows: [OutboxRow], scan: OutboxScan)
    /// Deletes published rows, even when the lease of `owner` has ended. Rows that another owner has claimed since then
    /// are not deleted.
    func deleteOutbox(_ ids: [Int64], owner: String) async throws
    /// Gives rows back before their lease ends.
    func releaseOutbox(_ ids: [Int64], owner: String) async throws
    /// Called about once a second while the relay of `owner` lives, whether or not it claims: a store that several
    /// relays share gives its part to others when it is not.
    func keepOutbox(owner: String, leaseMs: Int64) async throws
    /// The relay of `owner` has ended and nothing of its is under way: another may take its part at once.
    func leaveOutbox(owner: String) async throws
    /// Nil: there is one relay.
    var sharing: OutboxSharing? { get }
    /// Counts the waiting rows. A store may answer with an earlier count.
    func countOutbox() async throws -> OutboxCount
    /// Fires after a commit that added outbox rows; at least one signal is kept. It has one reader: each access creates
    /// a new stream, which starts with a signal, and ends the previous one.
    var outboxSignal: AsyncStream<Void> { get }
}

/// The rows that waited at one time.
public struct OutboxCount: Sendable, Hashable {
    public let rows: Int
    /// Time at which the oldest waiting dispatch was written (epoch ms); nil: none waits.
    public let oldestDispatchMs: Int64?
    /// When the count began. A store whose counts take long answers with the same one for a while.
    public let countedAt: ContinuousClock.Instant

    public init(rows: Int, oldestDispatchMs: Int64?, countedAt: ContinuousClock.Instant) {
        self.rows = rows
        self.oldestDispatchMs = oldestDispatchMs
        self.countedAt = countedAt
    }
}

/// What a store that several relays share demands of them.
public struct OutboxSharing: Sendable, Hashable {
    /// For how long a relay that does not come back keeps its part.
    public let lease: Duration
    /// After it a record must have its report, so that nothing is under way any more when the lease ends.
    public let messageTimeout: Duration

    package init(lease: Duration, messageTimeout: Duration) {
        self.lease = lease
        self.messageTimeout = messageTimeout
    }
}

extension OutboxStore {
    public func keepOutbox(owner: String, leaseMs: Int64) async throws {}
    public func leaveOutbox(owner: String) async throws {}
    public var sharing: OutboxSharing? { nil }

    /// The number of waiting rows, and the time at which the oldest waiting dispatch was written (epoch ms; nil: none).
    public func outboxState() async throws -> (rows: Int, oldestDispatchMs: Int64?) {
        let count = try await countOutbox()
        return (count.rows, count.oldestDispatchMs)
    }

    /// Claims up to `limit` rows of any kind, oldest first.
    public func claimOutbox(owner: String, limit: Int, leaseMs: Int64, nowMs: Int64) async throws -> [OutboxRow] {
        try await claimOutbox(OutboxScan(limit: limit), owner: owner, leaseMs: leaseMs, nowMs: nowMs).rows
    }
}

/// The rows that one fault of Kafka affects together: the rows for one partition of a topic. A key belongs to exactly
/// one partition.
public struct OutboxPartition: Sendable, Hashable {
    public let topic: Topic
    public let partition: Int32

    public init(_ topic: Topic, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }
}

/// The scan of one claim through the outbox: the rows that it examines, and how many it selects from each partition. It
/// reports the rows that it leaves, for the next claim.
public struct OutboxScan: Sendable {
    /// The ids to examine, and ids below them whose lease has ended.
    public let ids: ClosedRange<Int64>
    /// Maximum number of rows to select, 1 to 10,000.
    public let limit: Int
    private let partition: @Sendable (Topic, String) -> OutboxPartition
    private var room: [OutboxPartition: Int]
    private let roomElse: Int
    private var taken = 0
    /// The lowest row of each partition that was left.
    public private(set) var left: [OutboxPartition: Int64] = [:]
    /// The last row that was examined; nil: none.
    public private(set) var last: Int64?
    /// When the rows are somebody else's to take; nil: when the lease that was asked for ends. Epoch milliseconds.
    package(set) public var leaseEndsMs: Int64?

    /// - Parameters:
    ///   - partition: returns the partition of a topic and key.
    ///   - room: the number of rows to select from each named partition.
    ///   - roomElse: the number of rows to select from every other partition.
    public init(
        ids: ClosedRange<Int64> = 1...Int64.max, limit: Int, room: [OutboxPartition: Int] = [:], roomElse: Int = .max,
        partition: @escaping @Sendable (Topic, String) -> OutboxPartition = { topic, _ in OutboxPartition(topic, 0) }
    ) {
        self.ids = ids
        self.limit = min(max(limit, 1), 10_000)
        self.room = room
        self.roomElse = roomElse
        self.partition = partition
    }

    /// Whether the scan stopped because it reached its limit.
    public var isFull: Bool { taken == limit }

    /// Decides whether to select a row. Ids ascend from call to call.
    /// - Parameter isFree: false when another owner holds an earlier row of the same key, which this row would
    ///   overtake.
    package mutating func takes(_ id: Int64, _ topic: Topic, key: String, isFree: Bool) -> Bool {
        last = id
        let partition = partition(topic, key)
        guard isFree, room[partition, default: roomElse] > 0 else {
            if left[partition] == nil { left[partition] = id }
            return false
        }
        room[partition, default: roomElse] -= 1
        taken += 1
        return true
    }
}

/// A row that waits for Kafka.
public struct OutboxRow: Sendable, Hashable {
    public let id: Int64
    public let topic: Topic
    public let key: String
    /// Empty: a tombstone.
    public let value: [UInt8]
    public let contentType: ContentType
    /// A dispatch at or after this is deleted, not sent. Epoch milliseconds.
    public let expiresAtMs: Int64?
    public let traceparent: String?

    public init(
        id: Int64, topic: Topic, key: String, value: [UInt8], contentType: ContentType, expiresAtMs: Int64?,
        traceparent: String?
    ) {
        self.id = id
        self.topic = topic
        self.key = key
        self.value = value
        self.contentType = contentType
        self.expiresAtMs = expiresAtMs
        self.traceparent = traceparent
    }
}
