import ChallengeModel
public import KafkaClient
import Wire

/// Dead letters: what a role writes for a record that it cannot process, and what proves that a role wrote it.
extension RecordSigner {
    /// The same record for `dead-letters`, shortened so that every broker accepts it: the key is cut at 1 KB, the value
    /// at 512 KB, and only headers that fit into 64 KB are kept. Added headers name the source and the reason, and keep
    /// the original MAC and content type, so that the record can be written back exactly as it was. A seal covers all
    /// headers, because a replay follows them.
    /// - Parameters:
    ///   - reason: a stable word: `mac`, `protobuf`, `json`, `field`, `account`, `token`, ….
    public func deadLetter(_ record: ConsumedRecord, reason: String, detail: String) -> ProducerRecord {
        let key = Array(record.key.prefix(1024))
        let value = Array(record.value.prefix(512 * 1024))
        var cut: [String] = []
        if key.count < record.key.count { cut.append("key") }
        if value.count < record.value.count { cut.append("value") }
        let contentType =
            record.headers.text(of: ContentType.headerName).flatMap { ContentType(header: $0) } ?? .protobuf
        var room = 64 * 1024
        var isComplete = true
        var headers = record.headers.filter { header in
            let bytes = header.byteCount
            guard header.name != RecordAuthenticator.headerName, header.name != ContentType.headerName else {
                return false
            }
            // Nobody but a role says where a dead letter comes from.
            guard bytes <= room, !header.name.hasPrefix(RecordHeaderName.deadLetterPrefix) else {
                isComplete = false
                return false
            }
            room -= bytes
            return true
        }
        func keep(_ name: String, as keptName: String) {
            guard let original = record.headers.value(of: name) else { return }
            if original.count <= 256 {
                headers.append(RecordHeader(keptName, original))
            } else {
                isComplete = false
            }
        }
        keep(ContentType.headerName, as: RecordHeaderName.deadLetterContentType)
        keep(RecordAuthenticator.headerName, as: RecordHeaderName.deadLetterMAC)
        if !isComplete { cut.append("headers") }
        headers.append(RecordHeader(ContentType.headerName, contentType.rawValue))
        headers.append(
            RecordHeader(
                RecordAuthenticator.headerName,
                authenticator.mac(topic: names[.deadLetters], key: key, contentType: contentType, value: value)))
        // A time in the future would keep the record from ever expiring.
        let nowMs = Timestamp.nowMs()
        let timestampMs = record.timestampMs < 0 ? nowMs : min(record.timestampMs, nowMs)
        for (name, text) in [
            (RecordHeaderName.deadLetterTopic, record.topicPartition.topic),
            (RecordHeaderName.deadLetterPartition, String(record.topicPartition.partition)),
            (RecordHeaderName.deadLetterOffset, String(record.offset)),
            (RecordHeaderName.deadLetterTimestamp, String(timestampMs)),
            (RecordHeaderName.deadLetterReason, reason),
            // Not characters: one of them may have any number of accents.
            (RecordHeaderName.deadLetterDetail, String(String.UnicodeScalarView(detail.unicodeScalars.prefix(500)))),
        ] { headers.append(RecordHeader(name, text)) }
        if !cut.isEmpty { headers.append(RecordHeader(RecordHeaderName.deadLetterCut, cut.joined(separator: ","))) }
        headers.append(
            RecordHeader(
                RecordHeaderName.deadLetterSeal,
                authenticator.mac(
                    topic: sealName, key: key, contentType: contentType, value: Self.sealed(headers))))
        return ProducerRecord(topic: names[.deadLetters], key: key, value: value, headers: headers)
    }

    /// The dead letter of a record that a broker permanently refuses.
    public func deadLetter(refused record: ProducerRecord) -> ProducerRecord {
        let consumed = ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: -1), offset: -1, timestampMs: -1,
            key: record.key, value: record.value, headers: record.headers)
        return deadLetter(consumed, reason: "refused", detail: "the broker permanently refuses this record")
    }

    /// True when a holder of the record keys wrote exactly these headers to a record with this key. The headers contain
    /// `beckon-mac`, which covers the value; check it with ``isAuthentic(_:)``.
    public func isSealed(_ letter: ConsumedRecord) -> Bool {
        authenticator.isValid(
            mac: letter.headers.value(of: RecordHeaderName.deadLetterSeal), topic: sealName, key: letter.key,
            contentType: letter.headers.value(of: ContentType.headerName) ?? [], value: Self.sealed(letter.headers))
    }

    /// No topic has this name, because a topic's name contains no space: a seal is never the MAC of a record.
    private var sealName: String { names[.deadLetters] + " headers" }

    /// All headers but the seal, each name and value after its length.
    private static func sealed(_ headers: [RecordHeader]) -> [UInt8] {
        var bytes: [UInt8] = []
        func append(_ part: some Collection<UInt8>) {
            withUnsafeBytes(of: UInt32(part.count).bigEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: part)
        }
        for header in headers where header.name != RecordHeaderName.deadLetterSeal {
            append(header.name.utf8)
            append(header.value)
        }
        return bytes
    }
}
