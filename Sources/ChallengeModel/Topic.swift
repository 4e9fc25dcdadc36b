/// Beckon's topics (see docs/architecture.md). Keys are UTF-8.
public enum Topic: String, CaseIterable, Sendable {
    case requests
    case receiptRequests = "receipt-requests"
    case challenges
    case outcomes
    case receipts
    case resolutions
    case events
    case configuration
    case deadLetters = "dead-letters"

    /// Outsiders may write here; their records carry no `beckon-mac`.
    public var isEntrance: Bool { self == .requests || self == .receiptRequests }

    /// Keyed by challenge SID with one number of partitions, so that partition *p* of each holds the whole story of its
    /// challenges.
    public static let copartitioned: [Topic] = [.challenges, .outcomes, .receipts, .resolutions]
}

/// Topic names under a prefix.
public struct TopicNames: Sendable, Hashable {
    /// With its dot, `beckon.` by default.
    public let prefix: String

    public init(prefix: String = "beckon.") {
        self.prefix = prefix
    }

    public subscript(topic: Topic) -> String { prefix + topic.rawValue }

    public func topic(named name: String) -> Topic? {
        name.hasPrefix(prefix) ? Topic(rawValue: String(name.dropFirst(prefix.count))) : nil
    }
}

/// Record headers beside `content-type` and `beckon-mac`.
public enum RecordHeaderName {
    public static let traceparent = "traceparent"
    /// How often a record was written again because its key belongs to another partition: a decimal number. Not signed, for it
    /// decides nothing but when that ends.
    public static let moves = "beckon-moves"
    /// On `dead-letters`: topic, partition and offset the record came from, a stable word why, and a sentence.
    public static let deadLetterTopic = "beckon-dead-letter-topic"
    public static let deadLetterPartition = "beckon-dead-letter-partition"
    public static let deadLetterOffset = "beckon-dead-letter-offset"
    public static let deadLetterReason = "beckon-dead-letter-reason"
    public static let deadLetterDetail = "beckon-dead-letter-detail"
}
