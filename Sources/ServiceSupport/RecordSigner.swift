public import ChallengeModel
public import KafkaClient
import Wire

/// Creates records for Beckon's own topics, with content type and `beckon-mac` in the headers and the challenge's SID
/// as key.
public struct RecordSigner: Sendable {
    public let names: TopicNames
    public let authenticator: RecordAuthenticator
    /// Nil: records of `events` carry no signature for readers without record keys.
    public let eventSigner: EventSigner?

    public init(names: TopicNames, authenticator: RecordAuthenticator, eventSigner: EventSigner? = nil) {
        self.names = names
        self.authenticator = authenticator
        self.eventSigner = eventSigner
    }

    /// - Parameters:
    ///   - key: UTF-8, usually a challenge SID.
    ///   - traceparent: the trace context in the form of ``TraceContext/text``.
    public func record(
        _ topic: Topic, key: String, value: [UInt8], contentType: ContentType = .protobuf, traceparent: String? = nil
    ) -> ProducerRecord {
        let keyBytes = Array(key.utf8)
        var headers = [RecordHeader(ContentType.headerName, contentType.rawValue)]
        if !topic.isEntrance {
            headers.append(
                RecordHeader(
                    RecordAuthenticator.headerName,
                    authenticator.mac(topic: names[topic], key: keyBytes, contentType: contentType, value: value)))
        }
        if topic == .events, let eventSigner {
            headers.append(RecordHeader(EventSigner.headerName, eventSigner.signature(of: value)))
        }
        if let traceparent { headers.append(traceContext: traceparent) }
        return ProducerRecord(topic: names[topic], key: keyBytes, value: value, headers: headers)
    }

    /// True when a holder of the record keys wrote the record.
    public func isAuthentic(_ record: ConsumedRecord) -> Bool {
        authenticator.isValid(
            mac: record.headers.value(of: RecordAuthenticator.headerName), topic: record.topicPartition.topic,
            key: record.key, contentType: record.headers.value(of: ContentType.headerName) ?? [], value: record.value)
    }

    /// The id of the record key in the record, when this role does not have the key; see
    /// ``RecordAuthenticator/unknownKeyID(mac:)``.
    public func unknownKeyID(of record: ConsumedRecord) -> String? {
        authenticator.unknownKeyID(mac: record.headers.value(of: RecordAuthenticator.headerName))
    }

    /// The refusal of a record that is not authentic: the reason for its dead letter (a stable word), and a detail.
    public func refusal(of record: ConsumedRecord) -> (reason: String, detail: String) {
        guard let keyID = unknownKeyID(of: record) else {
            return ("mac", "the header beckon-mac is missing, or no record key of this role made it")
        }
        return ("key", "signed with record key \(keyID), which BECKON_RECORD_KEYS has not contained for an hour")
    }

    /// Maximum number of moves of a record. One move is enough when roles and brokers agree about the number of
    /// partitions.
    public static let mostMoves = 3

    /// The same record for the partition that its key belongs to, which the producer's partitioner determines. The MAC
    /// does not cover the partition.
    /// - Returns: nil when it was already moved ``mostMoves`` times. Then a role or broker has a wrong number of
    ///   partitions, and the record goes to the dead letters with reason `misplaced`.
    public func moved(_ record: ConsumedRecord) -> ProducerRecord? {
        let moves = record.headers.text(of: RecordHeaderName.moves).map { Int($0) ?? Self.mostMoves } ?? 0
        guard moves >= 0, moves < Self.mostMoves else { return nil }
        let headers = record.headers.filter { $0.name != RecordHeaderName.moves }
        return ProducerRecord(
            topic: record.topicPartition.topic, key: record.key, value: record.value,
            headers: headers + [RecordHeader(RecordHeaderName.moves, String(moves + 1))])
    }

    /// The reason in the dead letter of a record that ``moved(_:)`` refuses to move.
    public static let movedTooOften = (
        reason: "misplaced",
        detail: "moved \(mostMoves) times, and again in a partition that does not belong to its key"
    )
}

extension [RecordHeader] {
    /// The trace context of a record, in the form of ``TraceContext/text``; nil when it has none that is valid. The
    /// headers are not signed: anybody who may write to the topic chooses them, also those of a copy of a genuine record.
    package var traceContext: String? {
        guard let parent = text(of: RecordHeaderName.traceparent) else { return nil }
        let state = text(of: RecordHeaderName.tracestate).map { [$0] } ?? []
        return TraceContext(traceparent: parent, tracestate: state)?.text
    }

    /// Adds a context in the form of ``TraceContext/text``.
    fileprivate mutating func append(traceContext text: String) {
        let (parent, state) = TraceContext.split(text)
        append(RecordHeader(RecordHeaderName.traceparent, parent))
        if let state { append(RecordHeader(RecordHeaderName.tracestate, state)) }
    }
}
