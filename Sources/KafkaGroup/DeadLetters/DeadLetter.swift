public import ChallengeModel
public import KafkaClient
import ServiceSupport
import Wire

/// A record of topic `dead-letters`, without its payload: where the original record was, why it was refused, and
/// whether it can be written back.
public struct DeadLetter: Sendable {
    /// The position of a dead letter on its topic, as text `PARTITION:OFFSET`.
    public struct ID: Hashable, Sendable, Comparable, LosslessStringConvertible {
        public let partition: Int32
        public let offset: Int64

        public init(partition: Int32, offset: Int64) {
            self.partition = partition
            self.offset = offset
        }

        public init?(_ text: String) {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let partition = Int32(parts[0]), let offset = Int64(parts[1]), partition >= 0,
                offset >= 0
            else { return nil }
            self.init(partition: partition, offset: offset)
        }

        public var description: String { "\(partition):\(offset)" }

        public static func < (lhs: ID, rhs: ID) -> Bool { (lhs.partition, lhs.offset) < (rhs.partition, rhs.offset) }
    }

    /// The reason why a dead letter is not written back to its topic.
    public enum Refusal: String, Sendable, CaseIterable {
        case notBeckons = "not-beckons"
        case keyMissing = "key-missing"
        case unsealed
        case topic
        case cut
        case forged
        case expired
        case duplicate
        case gone

        /// One sentence for operators.
        public var explanation: String {
            switch self {
            case .notBeckons: "no role wrote this dead letter: its beckon-mac or its seal is wrong"
            case .keyMissing:
                "BECKON_RECORD_KEYS does not contain the key of the dead letter or of the original record; add the key"
            case .unsealed: "a version without seals wrote this dead letter, so nothing proves where it came from"
            case .topic:
                "the original topic is none that a replay may write to: not a topic of this prefix, or configuration, "
                    + "which a producer writes again at its start"
            case .cut: "the original record was larger than a dead letter, so it is not complete"
            case .forged: "the original record had no valid beckon-mac; it would only become a dead letter again"
            case .expired: "the original record is past its time, so no role would act on it"
            case .duplicate: "another dead letter of the same record is in this replay"
            case .gone: "the topic dead-letters does not contain it any more"
            }
        }
    }

    public let id: ID
    /// The time of the dead letter in epoch milliseconds; -1: unknown.
    public let writtenAtMs: Int64
    /// The full name of the original record's topic.
    public let topicName: String
    /// Nil: not a topic of this prefix.
    public let topic: Topic?
    /// -1: the record was never written.
    public let partition: Int32
    /// -1: the record was never written.
    public let offset: Int64
    /// The time of the original record in epoch milliseconds; -1: unknown.
    public let timestampMs: Int64
    /// A stable word, see ``RecordSigner/deadLetter(_:reason:detail:)``.
    public let reason: String
    public let detail: String
    /// At most 1,024 bytes of it when the record cannot be written back.
    public let key: [UInt8]
    public let valueByteCount: Int
    /// The header of the original record; nil: it had none, or a version without seals wrote the dead letter.
    public let contentType: String?
    /// The headers of the original record, except its content type and its MAC; none when it cannot be written back.
    public let headers: [RecordHeader]
    /// The id of an earlier replay that wrote the original record.
    public let replayID: String?
    /// When the original record has no use any more, epoch milliseconds; 0 when it cannot be written back at any time.
    public let expiresAtMs: Int64
    /// What speaks against a replay at any time.
    private let fault: Refusal?

    /// Nil: the record can be written back.
    public func refusal(nowMs: Int64) -> Refusal? { fault ?? (nowMs >= expiresAtMs ? .expired : nil) }

    init(_ record: ConsumedRecord, signer: RecordSigner) {
        // Anybody who may write to the topic chooses what stands there: nothing is long, and numbers are checked.
        func text(_ name: String) -> String? {
            record.headers.text(of: name).map { $0.utf8.count <= Self.longestText ? $0 : String($0.prefix(1000)) }
        }
        id = ID(partition: record.topicPartition.partition, offset: record.offset)
        writtenAtMs = record.timestampMs
        let name = text(RecordHeaderName.deadLetterTopic) ?? ""
        topicName = name
        topic = signer.names.topic(named: name)
        partition = text(RecordHeaderName.deadLetterPartition).flatMap { Int32($0) } ?? -1
        offset = text(RecordHeaderName.deadLetterOffset).flatMap { Int64($0) } ?? -1
        let timestampMs =
            text(RecordHeaderName.deadLetterTimestamp).flatMap { Int64($0) }
            .flatMap { Timestamp.range.contains($0) ? $0 : nil } ?? -1
        self.timestampMs = timestampMs
        reason = text(RecordHeaderName.deadLetterReason) ?? ""
        detail = text(RecordHeaderName.deadLetterDetail) ?? ""
        valueByteCount = record.value.count
        contentType = text(RecordHeaderName.deadLetterContentType)
        replayID = text(RecordHeaderName.replay)
        fault = Self.fault(record, topic: topic, signer: signer)
        guard fault == nil else {
            key = Array(record.key.prefix(Self.longestText))
            headers = []
            expiresAtMs = 0
            return
        }
        key = record.key
        headers = record.headers.filter { header in
            header.name != ContentType.headerName && header.name != RecordAuthenticator.headerName
                && !header.name.hasPrefix(RecordHeaderName.deadLetterPrefix)
        }
        expiresAtMs = Self.expiry(record, topic: topic, contentType: contentType, timestampMs: timestampMs)
    }

    /// Bytes of a text that are kept.
    private static let longestText = 1024

    /// The order matters: what the headers say counts only after the seal was checked.
    private static func fault(_ record: ConsumedRecord, topic: Topic?, signer: RecordSigner) -> Refusal? {
        if signer.unknownKeyID(of: record) != nil { return .keyMissing }
        guard signer.isAuthentic(record) else { return .notBeckons }
        guard record.headers.value(of: RecordHeaderName.deadLetterSeal) != nil else { return .unsealed }
        guard signer.isSealed(record) else { return .notBeckons }
        guard let topic, topic != .configuration, topic != .deadLetters else { return .topic }
        guard record.headers.value(of: RecordHeaderName.deadLetterCut) == nil else { return .cut }
        guard !topic.isEntrance else { return nil }
        // Beckon adds no MAC to a record that it writes back. The record's own MAC must be valid.
        let mac = record.headers.value(of: RecordHeaderName.deadLetterMAC)
        if signer.authenticator.unknownKeyID(mac: mac) != nil { return .keyMissing }
        let isGenuine = signer.authenticator.isValid(
            mac: mac, topic: signer.names[topic], key: record.key,
            contentType: record.headers.value(of: RecordHeaderName.deadLetterContentType) ?? [], value: record.value)
        return isGenuine ? nil : .forged
    }

    /// No challenge lives longer than an hour, so no record about one is of use for longer. A record that tells its
    /// expiry counts until then.
    private static func expiry(
        _ record: ConsumedRecord, topic: Topic?, contentType: String?, timestampMs: Int64
    ) -> Int64 {
        let longestLifeMs: Int64 = 3_600_000
        let atMost = timestampMs + (topic == .events ? 7 * 24 * longestLifeMs : longestLifeMs)
        let told: Int64 =
            switch topic {
            case .requests:
                (try? ChallengeRequest(value: record.value, contentType: contentType)).map { request in
                    timestampMs + (request.ttlSeconds == 0 ? 300_000 : Int64(request.ttlSeconds) * 1000)
                } ?? 0
            case .challenges: (try? ChallengeRecord(value: record.value, contentType: contentType))?.expiresAtMs ?? 0
            case .outcomes: (try? OutcomeRecord(value: record.value, contentType: contentType))?.expiresAtMs ?? 0
            default: 0
            }
        return told > 0 ? min(told, atMost) : atMost
    }

    /// The original record, byte by byte and under its own MAC, with the id of the replay.
    static func original(of record: ConsumedRecord, _ letter: DeadLetter, replayID: String) -> ProducerRecord {
        var headers = letter.headers.filter { $0.name != RecordHeaderName.replay }
        for (name, kept) in [
            (ContentType.headerName, RecordHeaderName.deadLetterContentType),
            (RecordAuthenticator.headerName, RecordHeaderName.deadLetterMAC),
        ] {
            if let value = record.headers.value(of: kept) { headers.append(RecordHeader(name, value)) }
        }
        headers.append(RecordHeader(RecordHeaderName.replay, replayID))
        var original = ProducerRecord(topic: letter.topicName, key: record.key, value: record.value, headers: headers)
        // The life of a request counts from its timestamp.
        original.timestampMs = letter.timestampMs
        return original
    }
}

extension ChallengeRecord {
    fileprivate var expiresAtMs: Int64 {
        switch kind {
        case .dispatch(let dispatch): dispatch.expiresAtMs
        case .carried(let carried): carried.dispatch.expiresAtMs
        case .deviceChanged, nil: 0
        }
    }
}

extension OutcomeRecord {
    fileprivate var expiresAtMs: Int64 {
        switch kind {
        case .push(let outcome): outcome.expiresAtMs
        case .escalation(let escalation): escalation.expiresAtMs
        case nil: 0
        }
    }
}
