/// What went wrong between us and the brokers.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
    /// librdkafka's name of the error, `_TRANSPORT`, `UNKNOWN_TOPIC_OR_PART`, …; `_CLOSED` for our own handle closed.
    public let code: String
    public let reason: String
    /// The handle is of no more use: build another.
    public let isFatal: Bool
    /// The same call may succeed later.
    public let isRetriable: Bool

    public init(code: String, reason: String, isFatal: Bool = false, isRetriable: Bool = false) {
        self.code = code
        self.reason = reason
        self.isFatal = isFatal
        self.isRetriable = isRetriable
    }

    public var description: String { "\(code): \(reason)" }
}
