/// An error between this process and the brokers.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
    /// librdkafka's name of the error, `_TRANSPORT`, `UNKNOWN_TOPIC_OR_PART`, …; `_CLOSED` when the handle was closed
    /// by this process.
    public let code: String
    public let reason: String
    /// True when the handle cannot be used any more and another must be built.
    public let isFatal: Bool

    public init(code: String, reason: String, isFatal: Bool = false) {
        self.code = code
        self.reason = reason
        self.isFatal = isFatal
    }

    private static let refusals: Set<String> = ["_INVALID_ARG", "_BAD_MSG", "INVALID_RECORD", "INVALID_TIMESTAMP"]
    private static let sizeRefusals: Set<String> = ["MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"]
    /// A record of this size fits into every topic with a sensible configuration.
    private static let smallBytes = 64 * 1024
    private static let evictions: Set<String> = ["UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "FENCED_INSTANCE_ID"]

    /// Whether a record is larger than its topic allows (`max.message.bytes`). A broker gives the same answer for a
    /// whole batch. ``KafkaProducer`` then sends the record alone before it returns this error.
    public var isTooLarge: Bool { Self.sizeRefusals.contains(code) }

    /// Whether the record itself is faulty, so that it will never be written. All other errors justify another attempt:
    /// an operator can create a missing topic, grant a right or raise a limit below 64 KB, and the record must then
    /// still exist.
    public func isRefusal(of record: ProducerRecord) -> Bool {
        Self.refusals.contains(code) || isTooLarge && record.byteCount > Self.smallBytes
    }

    /// Whether the group's coordinator has excluded the member, so that its partitions go to another member. Every
    /// other refused commit means only that the coordinator is unavailable, or busy with a rebalance.
    public var isEviction: Bool { Self.evictions.contains(code) }

    private static let lastingRefusals: Set<String> = [
        "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "UNSUPPORTED_VERSION", "_UNSUPPORTED_FEATURE",
    ]

    /// True when the same question may get an answer later: brokers that are away, a coordinator that has just begun.
    /// False for a refusal that stays.
    static func isPassing(_ code: String?) -> Bool { !lastingRefusals.contains(code ?? "") }

    public var description: String { "\(code): \(reason)" }
}
