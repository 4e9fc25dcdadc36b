import ChallengeModel
import KafkaClient
import Testing

@testable import ServiceSupport

@Suite("The seal of a dead letter")
struct DeadLetterSealTests {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))

    private func letter(_ headers: [RecordHeader] = [RecordHeader("a", "1")]) -> ConsumedRecord {
        let record = ConsumedRecord(
            topicPartition: TopicPartition(topic: "beckon.challenges", partition: 3), offset: 7, timestampMs: 5,
            key: [65], value: [1, 2], headers: headers)
        return read(signer.deadLetter(record, reason: "mac", detail: "d"))
    }

    private func read(_ record: ProducerRecord) -> ConsumedRecord { changed(record) { _ in } }

    private func changed(_ record: ProducerRecord, _ change: (inout ProducerRecord) -> Void) -> ConsumedRecord {
        var record = record
        change(&record)
        return ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: 0), offset: 0, timestampMs: 1,
            key: record.key, value: record.value, headers: record.headers)
    }

    private func changed(_ record: ConsumedRecord, _ change: (inout [RecordHeader]) -> Void) -> ConsumedRecord {
        var headers = record.headers
        change(&headers)
        return ConsumedRecord(
            topicPartition: record.topicPartition, offset: record.offset, timestampMs: record.timestampMs,
            key: record.key, value: record.value, headers: headers)
    }

    @Test("covers every header, their order, and the key")
    func covers() {
        let letter = letter()
        #expect(signer.isAuthentic(letter) && signer.isSealed(letter))
        for index in letter.headers.indices where letter.headers[index].name != RecordHeaderName.deadLetterSeal {
            let name = letter.headers[index].name
            #expect(!signer.isSealed(changed(letter) { $0.remove(at: index) }), "without \(name)")
            let other = RecordHeader(name, letter.headers[index].value + [48])
            #expect(!signer.isSealed(changed(letter) { $0[index] = other }), "another \(name)")
        }
        #expect(!signer.isSealed(changed(letter) { $0.append(RecordHeader("b", "2")) }))
        #expect(!signer.isSealed(changed(letter) { $0.swapAt(0, 1) }))
        let otherKey = ConsumedRecord(
            topicPartition: letter.topicPartition, offset: 0, timestampMs: 1, key: [66], value: letter.value,
            headers: letter.headers)
        #expect(!signer.isSealed(otherKey))
        let stranger = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        #expect(!stranger.isSealed(letter))
        let elsewhere = RecordSigner(names: TopicNames(prefix: "other."), authenticator: signer.authenticator)
        #expect(!elsewhere.isSealed(letter), "of another prefix")
    }

    @Test("the original MAC and content type are kept, and headers that only a role may write are dropped")
    func keeps() {
        let letter = letter([
            RecordHeader(ContentType.headerName, "Application/JSON; charset=utf-8"),
            RecordHeader(RecordAuthenticator.headerName, "k1:forged"),
            RecordHeader(RecordHeaderName.deadLetterTopic, "beckon.requests"), RecordHeader("a", "1"),
        ])
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterContentType) == "Application/JSON; charset=utf-8")
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterMAC) == "k1:forged")
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterTimestamp) == "5")
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterCut) == "headers")
        let topics = letter.headers.filter { $0.name == RecordHeaderName.deadLetterTopic }
        #expect(topics == [RecordHeader(RecordHeaderName.deadLetterTopic, "beckon.challenges")])
    }

    @Test("a record without MAC and content type gets none, and is not cut")
    func bare() {
        let letter = letter()
        for name in [
            RecordHeaderName.deadLetterMAC, RecordHeaderName.deadLetterContentType, RecordHeaderName.deadLetterCut,
        ] { #expect(letter.headers.value(of: name) == nil, "\(name)") }
    }
}
