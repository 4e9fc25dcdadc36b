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
    /// Codes that a broker answers to a whole batch: a small record among them is not to blame.
    private static let sizeRefusals: Set<String> = ["MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"]
    private static let smallBytes = 64 * 1024

    /// Whether this is the record's own fault, so that it will never be written. Anything else is worth another attempt: a
    /// topic that is missing or a right that was not granted is put right by people, and the record has to be there then.
    public func isRefusal(of record: ProducerRecord) -> Bool {
        Self.refusals.contains(code) || Self.sizeRefusals.contains(code) && record.byteCount > Self.smallBytes
    }

    public var description: String { "\(code): \(reason)" }
}
