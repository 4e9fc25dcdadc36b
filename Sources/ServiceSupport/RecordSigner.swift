public import ChallengeModel
public import KafkaClient

/// Makes records for our own topics: content type and `beckon-mac` in the headers, the challenge's SID as key.
public struct RecordSigner: Sendable {
    public let names: TopicNames
    public let authenticator: RecordAuthenticator

    public init(names: TopicNames, authenticator: RecordAuthenticator) {
        self.names = names
        self.authenticator = authenticator
    }

    /// - Parameters:
    ///   - key: UTF-8, mostly a challenge SID.
    ///   - partition: only to put a misplaced record right; else the key decides.
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
        if let traceparent { headers.append(RecordHeader(RecordHeaderName.traceparent, traceparent)) }
        return ProducerRecord(topic: names[topic], key: keyBytes, value: value, headers: headers)
    }

    /// True when a holder of the record keys wrote it.
    public func isAuthentic(_ record: ConsumedRecord) -> Bool {
        authenticator.isValid(
            mac: record.headers.value(of: RecordAuthenticator.headerName), topic: record.topicPartition.topic,
            key: record.key, contentType: record.headers.value(of: ContentType.headerName) ?? [], value: record.value)
    }

    /// The id of the record key that it names, when that is none of ours; see ``RecordAuthenticator/unknownKeyID(mac:)``.
    public func unknownKeyID(of record: ConsumedRecord) -> String? {
        authenticator.unknownKeyID(mac: record.headers.value(of: RecordAuthenticator.headerName))
    }

    /// Why a record that is not authentic is refused: the reason for its dead letter, a stable word, and what was expected.
    public func refusal(of record: ConsumedRecord) -> (reason: String, detail: String) {
        guard let keyID = unknownKeyID(of: record) else {
            return ("mac", "the header beckon-mac is missing, or no record key of this role made it")
        }
        return ("key", "signed with record key \(keyID), which BECKON_RECORD_KEYS has not contained for an hour")
    }

    /// The same record for `dead-letters`, cut so that every broker takes it: key at 1 KB, value at 512 KB, of foreign headers
    /// those that fit into 64 KB. Further headers say where from and why.
    /// - Parameters:
    ///   - reason: a stable word: `mac`, `protobuf`, `json`, `field`, `account`, `token`, ….
    public func deadLetter(_ record: ConsumedRecord, reason: String, detail: String) -> ProducerRecord {
        let key = Array(record.key.prefix(1024))
        let value = Array(record.value.prefix(512 * 1024))
        let contentType =
            record.headers.text(of: ContentType.headerName).flatMap { ContentType(header: $0) } ?? .protobuf
        var room = 64 * 1024
        var headers = record.headers.filter { header in
            let bytes = header.byteCount
            guard header.name != RecordAuthenticator.headerName, header.name != ContentType.headerName, bytes <= room
            else { return false }
            room -= bytes
            return true
        }
        headers.append(RecordHeader(ContentType.headerName, contentType.rawValue))
        headers.append(
            RecordHeader(
                RecordAuthenticator.headerName,
                authenticator.mac(topic: names[.deadLetters], key: key, contentType: contentType, value: value)))
        headers.append(RecordHeader(RecordHeaderName.deadLetterTopic, record.topicPartition.topic))
        headers.append(RecordHeader(RecordHeaderName.deadLetterPartition, String(record.topicPartition.partition)))
        headers.append(RecordHeader(RecordHeaderName.deadLetterOffset, String(record.offset)))
        headers.append(RecordHeader(RecordHeaderName.deadLetterReason, reason))
        // Not characters: one of them may have any number of accents.
        headers.append(
            RecordHeader(
                RecordHeaderName.deadLetterDetail, String(String.UnicodeScalarView(detail.unicodeScalars.prefix(500)))))
        return ProducerRecord(topic: names[.deadLetters], key: key, value: value, headers: headers)
    }

    /// So often a record is moved at most. One move is enough where roles and brokers agree about the number of partitions.
    public static let mostMoves = 3

    /// The record for the partition that its key belongs to, where the producer's partitioner puts it; the code does not cover the
    /// place.
    /// - Returns: nil when it was moved ``mostMoves`` times already: then somebody is wrong about the number of partitions, and it
    ///   goes to the dead letters with reason `misplaced`.
    public func moved(_ record: ConsumedRecord) -> ProducerRecord? {
        let moves = record.headers.text(of: RecordHeaderName.moves).map { Int($0) ?? Self.mostMoves } ?? 0
        guard moves >= 0, moves < Self.mostMoves else { return nil }
        let headers = record.headers.filter { $0.name != RecordHeaderName.moves }
        return ProducerRecord(
            topic: record.topicPartition.topic, key: record.key, value: record.value,
            headers: headers + [RecordHeader(RecordHeaderName.moves, String(moves + 1))])
    }

    /// Why a record that ``moved(_:)`` gives up goes to the dead letters.
    public static let movedTooOften = (
        reason: "misplaced",
        detail: "moved \(mostMoves) times, and again in a partition that does not belong to its key"
    )

    /// A dead letter for what a broker refuses for good.
    public func deadLetter(refused record: ProducerRecord) -> ProducerRecord {
        let consumed = ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: -1), offset: -1, timestampMs: -1,
            key: record.key, value: record.value, headers: record.headers)
        return deadLetter(consumed, reason: "refused", detail: "the broker permanently refuses this record")
    }
}
