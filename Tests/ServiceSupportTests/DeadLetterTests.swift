import ChallengeModel
import KafkaClient
import Logging
import Synchronization
import Testing

@testable import ServiceSupport

@Suite("Dead letters")
struct DeadLetterTests {
    let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))

    private func read(key: Int = 10, value: Int = 10, headers: [RecordHeader] = []) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: TopicPartition(topic: "beckon.requests", partition: 3), offset: 7, timestampMs: 1,
            key: Array(repeating: 65, count: key), value: Array(repeating: 1, count: value), headers: headers)
    }

    @Test(
        "whatever a broker took fits into a dead letter, signed",
        arguments: [
            (key: 10, value: 400_000, header: 620_000, times: 1), (10, 1_000, 1_000_000, 1), (600_000, 10, 0, 0),
            (10, 1_048_000, 0, 0), (10, 10, 0, 90_000),
        ])
    func fits(key: Int, value: Int, header: Int, times: Int) {
        let record = read(
            key: key, value: value,
            headers: Array(repeating: RecordHeader("x", Array(repeating: 2, count: header)), count: times))
        let letter = signer.deadLetter(
            record, reason: "json", detail: "e" + String(repeating: "\u{301}", count: 1_000_000))
        #expect(letter.byteCount < 600_000)
        #expect(letter.key == Array(record.key.prefix(1024)))
        #expect(letter.value == Array(record.value.prefix(512 * 1024)))
        let back = ConsumedRecord(
            topicPartition: TopicPartition(topic: letter.topic, partition: 0), offset: 0, timestampMs: 1,
            key: letter.key, value: letter.value, headers: letter.headers)
        #expect(signer.isAuthentic(back))
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterOffset) == "7")
    }

    @Test("foreign headers are kept as far as they fit, in their order")
    func headers() {
        let letter = signer.deadLetter(
            read(headers: [
                RecordHeader("a", "1"), RecordHeader("large", Array(repeating: 0, count: 70_000)),
                RecordHeader("b", "2"),
                RecordHeader(RecordAuthenticator.headerName, "forged"),
            ]), reason: "mac", detail: "")
        #expect(letter.headers.prefix(2) == [RecordHeader("a", "1"), RecordHeader("b", "2")])
        #expect(letter.headers.value(of: "large") == nil)
    }

    @Test("a record is moved to its partition three times at most, whatever its header says")
    func moves() {
        func record(_ headers: [RecordHeader]) -> ConsumedRecord { read(headers: [RecordHeader("a", "1")] + headers) }
        var found = record([])
        for move in 1...RecordSigner.mostMoves {
            guard let moved = signer.moved(found) else {
                Issue.record("not moved")
                return
            }
            #expect(moved.partition == nil && moved.key == found.key && moved.value == found.value)
            #expect(moved.headers == [RecordHeader("a", "1"), RecordHeader(RecordHeaderName.moves, "\(move)")])
            found = record([RecordHeader(RecordHeaderName.moves, "\(move)")])
        }
        #expect(signer.moved(found) == nil)
        for text in ["", "-1", "x", "99999999999999999999", "9223372036854775807"] {
            #expect(signer.moved(record([RecordHeader(RecordHeaderName.moves, text)])) == nil, "\(text)")
        }
    }

    @Test("a line a second; the next one says how many were left unsaid")
    func limited() {
        let lines = Lines()
        let log = LimitedLog(Logger(label: "t") { _ in lines })
        let start = ContinuousClock.now
        for ms in [0, 1, 999, 1_000, 1_001, 2_500, 9_000] {
            log.log(.warning, "w", metadata: ["ms": "\(ms)"], now: start + .milliseconds(ms))
        }
        #expect(lines.all.withLock { $0 } == ["0", "1000 2", "2500 1", "9000"])
    }

    private final class Lines: LogHandler, Sendable {
        let all = Mutex<[String]>([])
        var metadata: Logger.Metadata {
            get { [:] }
            set {}
        }
        var logLevel: Logger.Level {
            get { .trace }
            set {}
        }
        subscript(metadataKey _: String) -> Logger.MetadataValue? {
            get { nil }
            set {}
        }
        func log(event: LogEvent) {
            let told = ["ms", "unsaid"].compactMap { event.metadata?[$0].map { "\($0)" } }
            all.withLock { $0.append(told.joined(separator: " ")) }
        }
    }
}
