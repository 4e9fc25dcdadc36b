/// What went wrong between us and the brokers.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
    /// librdkafka's name of the error, `_TRANSPORT`, `UNKNOWN_TOPIC_OR_PART`, …; `_CLOSED` for our own handle closed.
    public let code: String
    public let reason: String
    /// The handle is of no more use: build another.
    public let isFatal: Bool

    public init(code: String, reason: String, isFatal: Bool = false) {
        self.code = code
        self.reason = reason
        self.isFatal = isFatal
    }

    private static let refusals: Set<String> = ["_INVALID_ARG", "_BAD_MSG", "INVALID_RECORD", "INVALID_TIMESTAMP"]
    private static let sizeRefusals: Set<String> = ["MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"]
    /// Every topic of a sound configuration takes so much.
    private static let smallBytes = 64 * 1024
    private static let evictions: Set<String> = ["UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "FENCED_INSTANCE_ID"]

    /// Whether a record is larger than its topic takes (`max.message.bytes`). A broker answers the same to a whole batch; then
    /// ``KafkaProducer`` has sent the record alone before it says so.
    public var isTooLarge: Bool { Self.sizeRefusals.contains(code) }

    /// Whether this is the record's own fault, so that it will never be written. Anything else is worth another attempt: a
    /// topic that is missing, a right that was not granted or a limit below 64 KB is put right by people, and the record has to
    /// be there then.
    public func isRefusal(of record: ProducerRecord) -> Bool {
        Self.refusals.contains(code) || isTooLarge && record.byteCount > Self.smallBytes
    }

    /// Whether the group's coordinator no longer counts the member: its partitions are, or will be, another's. Every other
    /// refused commit says only that the coordinator is away, or busy with a rebalance.
    public var isEviction: Bool { Self.evictions.contains(code) }

    public var description: String { "\(code): \(reason)" }
}
