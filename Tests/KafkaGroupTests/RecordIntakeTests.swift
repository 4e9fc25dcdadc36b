import ChallengeModel
import KafkaClient
import KafkaGroup
import ServiceSupport
import Testing

@Suite("What every record must be before a role reads it")
struct RecordIntakeTests {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
    static let key = "YC" + String(repeating: "01", count: 16)

    private func consumed(_ record: ProducerRecord, partition: Int32 = 0) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: TopicPartition(topic: record.topic, partition: partition), offset: 7, timestampMs: 1,
            key: record.key, value: record.value, headers: record.headers)
    }

    private func receipt(_ signer: RecordSigner, key: String = Self.key) -> ProducerRecord {
        var receipt = Receipt()
        receipt.challengeSid = key
        return signer.record(.receipts, key: key, value: receipt.protobufBytes())
    }

    private func check(_ record: ConsumedRecord, partitions: Int? = 1) -> RecordFault? {
        do throws(RecordFault) {
            _ = try RecordIntake(signer: signer, partitions: partitions).open(record, as: Receipt.self)
            return nil
        } catch {
            return error
        }
    }

    private func reason(_ record: ProducerRecord) -> String? {
        record.headers.text(of: RecordHeaderName.deadLetterReason)
    }

    @Test("a record of ours is decoded")
    func good() throws {
        let intake = RecordIntake(signer: signer, partitions: 1)
        #expect(try intake.open(consumed(receipt(signer)), as: Receipt.self).challengeSid == Self.key)
    }

    @Test("a forged record is refused for that alone, wherever it is and whatever it holds")
    func forged() {
        let other = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        var bare = receipt(signer)
        bare.headers = []
        for record in [receipt(other), bare, other.record(.receipts, key: "", value: [0xff])] {
            for partition in Int32(0)..<4 {
                guard case .forged(let error) = check(consumed(record, partition: partition), partitions: 4) else {
                    Issue.record("taken for another fault")
                    continue
                }
                #expect(error.reason == "mac")
            }
        }
    }

    @Test("a misplaced record is moved three times, and then goes to the dead letters")
    func misplaced() throws {
        let intake = RecordIntake(signer: signer, partitions: 4)
        var record = receipt(signer)
        let home = Murmur2.partition(key: record.key, partitions: 4)
        #expect(check(consumed(record, partition: home), partitions: 4) == nil)
        let wrong = (home + 1) % 4
        #expect(check(consumed(record, partition: wrong), partitions: nil) == nil, "a reader that needs no places")
        for _ in 0..<RecordSigner.mostMoves {
            let found = consumed(record, partition: wrong)
            #expect(intake.isMisplaced(found))
            let fault = try #require(check(found, partitions: 4))
            #expect(fault == .misplaced && fault.deadLetter == nil)
            record = intake.replacement(of: found, for: fault)
            #expect(record.topic == found.topicPartition.topic && record.value == found.value)
        }
        let found = consumed(record, partition: wrong)
        let last = try #require(check(found, partitions: 4))
        #expect(last == .movedTooOften && last.deadLetter?.reason == "misplaced")
        for letter in [intake.replacement(of: found, for: last), intake.moved(found)] {
            #expect(letter.topic == "beckon.dead-letters" && reason(letter) == "misplaced")
        }
    }

    @Test("what cannot be read says why in its dead letter")
    func unreadable() throws {
        let intake = RecordIntake(signer: signer, partitions: 1)
        let records = [
            "field": signer.record(.receipts, key: "", value: []),
            "protobuf": signer.record(.receipts, key: Self.key, value: [0xff, 0xff, 0xff]),
            "json": signer.record(.receipts, key: Self.key, value: Array("{".utf8), contentType: .json),
        ]
        for (expected, record) in records {
            let fault = try #require(check(consumed(record)))
            guard case .unreadable(let error) = fault else {
                Issue.record("taken for another fault: \(fault)")
                continue
            }
            #expect(error.reason == expected)
            #expect(reason(intake.replacement(of: consumed(record), for: fault)) == expected)
            #expect(reason(intake.deadLetter(consumed(record), error)) == expected)
        }
    }
}
