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

    /// Backends may write to this topic. Their records have no `beckon-mac`.
    public var isEntrance: Bool { self == .requests || self == .receiptRequests }

    /// The topics that are keyed by challenge SID and have the same number of partitions, so that partition *p* of them
    /// contains all records of its challenges.
    public static let copartitioned: [Topic] = [.challenges, .outcomes, .receipts, .resolutions]
}

/// Topic names with a prefix.
public struct TopicNames: Sendable, Hashable {
    /// The prefix with its dot, `beckon.` by default.
    public let prefix: String

    public init(prefix: String = "beckon.") {
        self.prefix = prefix
    }

    public subscript(topic: Topic) -> String { prefix + topic.rawValue }

    public func topic(named name: String) -> Topic? {
        name.hasPrefix(prefix) ? Topic(rawValue: String(name.dropFirst(prefix.count))) : nil
    }
}

/// Record headers in addition to `content-type` and `beckon-mac`.
public enum RecordHeaderName {
    /// W3C Trace Context: the place in its trace of the work that wrote the record, and the lists of tracing systems.
    public static let traceparent = "traceparent"
    public static let tracestate = "tracestate"
    /// How often a record was moved because its key belongs to another partition, as a decimal number. It is not
    /// signed, because it only limits the number of moves.
    public static let moves = "beckon-moves"
    /// Headers on `dead-letters`: topic, partition and offset of the original record, a stable word for the reason, and
    /// a sentence.
    public static let deadLetterTopic = "beckon-dead-letter-topic"
    public static let deadLetterPartition = "beckon-dead-letter-partition"
    public static let deadLetterOffset = "beckon-dead-letter-offset"
    public static let deadLetterReason = "beckon-dead-letter-reason"
    public static let deadLetterDetail = "beckon-dead-letter-detail"
    /// The timestamp of the original record in epoch milliseconds, at most the time of the dead letter. When the record
    /// had none: the time of the dead letter.
    public static let deadLetterTimestamp = "beckon-dead-letter-timestamp"
    /// The headers `beckon-mac` and `content-type` of the original record, when it had them.
    public static let deadLetterMAC = "beckon-dead-letter-mac"
    public static let deadLetterContentType = "beckon-dead-letter-content-type"
    /// The parts of the original record that are not complete: `key`, `value`, `headers`, joined by commas.
    public static let deadLetterCut = "beckon-dead-letter-cut"
    /// A MAC over the key and all other headers of the dead letter, which `beckon-mac` does not cover.
    public static let deadLetterSeal = "beckon-dead-letter-seal"
    /// The common beginning of the names above.
    public static let deadLetterPrefix = "beckon-dead-letter-"
    /// The id of the replay that wrote the record back to its topic. It is not signed.
    public static let replay = "beckon-replay"
}
