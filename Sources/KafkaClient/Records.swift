/// One partition of one topic.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let topic: String
    public let partition: Int32

    public init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public var description: String { "\(topic)[\(partition)]" }

    public static func < (lhs: TopicPartition, rhs: TopicPartition) -> Bool {
        (lhs.topic, lhs.partition) < (rhs.topic, rhs.partition)
    }
}

/// A header of a record. Names may repeat. The last header of a name counts.
public struct RecordHeader: Hashable, Sendable {
    public let name: String
    public let value: [UInt8]

    public init(_ name: String, _ value: [UInt8]) {
        self.name = name
        self.value = value
    }

    public init(_ name: String, _ value: String) {
        self.init(name, Array(value.utf8))
    }

    /// Its share of a record's size, as librdkafka counts it before it sends one.
    public var byteCount: Int { name.utf8.count + value.count + 10 }
}

extension [RecordHeader] {
    /// The value of the last header of that name.
    public func value(of name: String) -> [UInt8]? { last { $0.name == name }?.value }

    /// The value as text. Invalid UTF-8 is replaced.
    public func text(of name: String) -> String? { value(of: name).map { String(decoding: $0, as: UTF8.self) } }
}

/// A record to write. The key decides the partition by murmur2, as Java clients do, unless `partition` is given.
public struct ProducerRecord: Sendable {
    public var topic: String
    public var key: [UInt8]
    public var value: [UInt8]
    public var headers: [RecordHeader]
    public var partition: Int32?
    /// Epoch milliseconds; nil: the time of the write. A topic with `message.timestamp.type=LogAppendTime` ignores it.
    public var timestampMs: Int64?

    public init(topic: String, key: [UInt8], value: [UInt8], headers: [RecordHeader] = [], partition: Int32? = nil) {
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.partition = partition
    }

    /// The size that counts towards `message.max.bytes`, except a constant.
    public var byteCount: Int { headers.reduce(key.count + value.count) { $0 + $1.byteCount } }
}

/// The position at which the broker stored a record.
public struct RecordPosition: Hashable, Sendable {
    public let topicPartition: TopicPartition
    public let offset: Int64

    public init(topicPartition: TopicPartition, offset: Int64) {
        self.topicPartition = topicPartition
        self.offset = offset
    }
}

/// A record that was read. Its bytes are copies and outlive the librdkafka message.
public struct ConsumedRecord: Sendable {
    public let topicPartition: TopicPartition
    public let offset: Int64
    /// The timestamp of the writer or broker in epoch milliseconds, up to the year 9999. -1 when it is missing or
    /// impossible, because a writer may set any value.
    public let timestampMs: Int64
    public let key: [UInt8]
    public let value: [UInt8]
    public let headers: [RecordHeader]

    public init(
        topicPartition: TopicPartition, offset: Int64, timestampMs: Int64, key: [UInt8], value: [UInt8],
        headers: [RecordHeader]
    ) {
        self.topicPartition = topicPartition
        self.offset = offset
        self.timestampMs = (0...253_402_300_799_999).contains(timestampMs) ? timestampMs : -1
        self.key = key
        self.value = value
        self.headers = headers
    }
}
