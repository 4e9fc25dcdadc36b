import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Logging
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Where a number is", .timeLimit(.minutes(5)))
struct SecrecyTests {
    /// Everything that is logged, at every level.
    private struct Recorder: LogHandler {
        final class Lines: Sendable {
            private let text = Mutex("")
            var all: String { text.withLock { $0 } }
            func add(_ line: String) { text.withLock { $0 += line + "\n" } }
        }

        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { lines.add("\(event.level) \(event.message) \(event.metadata ?? [:])") }
    }

    private static func numbered(_ answer: HTTPAnswer) throws -> String {
        try #require(try answer.json()["beckon"]?["number_matching"]?["number"]?.stringValue, "\(answer.text)")
    }

    @Test("in the backend's replies; in no device's, no record, event, timeline, trail, log, nor in the store's file")
    func number() async throws {
        let lines = Recorder.Lines()
        let logger = Logger(label: "test") { _ in Recorder(lines: lines) }
        try await ProducerHarness.run(entrances: true, logger: logger) { producer in
            let scene = try await PolicyScene(producer, [("Push.NumberDigits", "6")])
            let phone = scene.phone
            let created = try await scene.create([
                ("NumberMatching", "true"), ("ActionKey", "attempt-1"), ("HiddenDetails", #"{"a":"b"}"#),
            ])
            let (sid, number) = (try created.text("sid"), try Self.numbered(created))
            // Over Kafka: the record asks for it, the backend fetches it.
            try await withWriter(producer) { writer in
                var request = ChallengeRequest()
                request.requestID = "r-1"
                request.serviceSid = try scene.serviceSID.rawValue
                request.identity = PolicyScene.identity
                request.message = "Pay?"
                request.numberMatching = true
                request.requireSession = true
                request.actionKey = "attempt-2"
                _ = try await writer.send(
                    ProducerRecord(
                        topic: producer.names[.requests], key: Array("k".utf8), value: request.protobufBytes(),
                        headers: [RecordHeader(ContentType.headerName, ContentType.protobuf.rawValue)]))
            }
            let topics = [Topic.requests, .challenges, .resolutions, .receipts, .events].map { producer.names[$0] }
            try await TopicTail.following(topics, kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("the request over Kafka") {
                    try await producer.get("\(phone.challengesPath)?Status=pending", as: producer.backend)
                        .items("challenges").count == 2
                }
                let list = try await producer.get("\(phone.challengesPath)?Status=pending", as: producer.backend)
                let second = try #require(
                    try list.items("challenges").compactMap { $0["sid"]?.stringValue }.first { $0 != sid })
                let overKafka = try await scene.read(second)
                let other = try Self.numbered(overKafka)
                #expect(try overKafka.json()["beckon"]?["require_session"] == .boolean(true))
                #expect(try overKafka.json()["beckon"]?["action_key"] == .string("attempt-2"))
                #expect(number.utf8.count == 6 && other.utf8.count == 6)

                var replies: [String] = []
                func device(_ answer: HTTPAnswer) { replies.append("\(answer.headers)\n\(answer.text)") }
                func asDevice() throws -> Authorization { try phone.token(nowMs: producer.clock.nowMs) }
                device(try await producer.get("\(phone.challengesPath)?Status=pending", as: asDevice()))
                device(try await scene.read(sid, as: asDevice()))
                device(try await scene.read(sid, as: asDevice(), query: "?Evidence=true"))
                device(
                    try await producer.post(
                        "\(phone.challengesPath)/\(sid)/Receipts", [("Shown", "yes")], as: asDevice()))
                let tagged = try await scene.read(sid, as: asDevice(), query: "?Wait=0")
                device(tagged)
                for (wait, tag) in [("0", tagged.header("ETag") ?? ""), ("30", "\"other\"")] {
                    let polled = try await producer.send(
                        "GET", "\(phone.challengesPath)/\(sid)?Wait=\(wait)", as: asDevice(),
                        headers: [("If-None-Match", tag)])
                    #expect(polled.status == (wait == "0" ? 304 : 200) && polled.header("ETag") != nil)
                    device(polled)
                }
                device(try await producer.get(phone.factorPath, as: asDevice()))
                device(try await producer.post(phone.factorPath, [("FriendlyName", "mine")], as: asDevice()))
                let receipt = ReceiptToken(
                    account: producer.account.sid, service: try scene.serviceSID,
                    challenge: try #require(ChallengeSID(sid)), factor: try #require(FactorSID(phone.factor)),
                    dispatch: .creation, expiresAtMs: producer.clock.nowMs + 300_000)
                let redeemed = try await producer.post(
                    "/v2/Receipts", [("ReceiptToken", receipt.sealed(with: producer.keys))])
                #expect(redeemed.status == 204)
                device(redeemed)
                device(try await scene.answer(sid))
                device(try await scene.answer(sid, "approved", [("Number", number == "000000" ? "1" : "000000")]))
                device(try await scene.answer(sid, "approved", [("Number", number)]))
                device(try await scene.read(sid, as: asDevice()))
                for _ in 0..<3 {
                    device(
                        try await scene.answer(
                            second, "approved",
                            [("Number", "1"), ("SessionToken", try await scene.sessionToken())]))
                }
                device(try await producer.get(phone.challengesPath, as: asDevice()))
                let reader = try await scene.read(second, as: producer.key(.read))
                try await becomesTrue("all records") {
                    tail.count(of: producer.names[.resolutions]) == 2
                        && tail.count(of: producer.names[.challenges]) >= 2
                        && tail.records(of: producer.names[.events]).contains {
                            (try? CloudEvent(json: $0.value))?.type == "beckon.challenge.denied"
                        }
                }
                let trail = try await producer.get("/v1/AuditEvents?PageSize=1000", as: producer.backend)
                var timelines = ""
                for challenge in [sid, second] {
                    timelines += try await producer.get(
                        "\(phone.challengesPath)/\(challenge)/Timeline", as: producer.backend
                    ).text
                }
                #expect(timelines.contains("denied") && timelines.contains("approved"))
                let records = topics.flatMap { tail.records(of: $0) }
                let files = ["", "-wal"].compactMap { FileManager.default.contents(atPath: producer.storePath + $0) }
                #expect(replies.count == 18 && records.count >= 9 && files.count == 2 && lines.all.utf8.count > 500)
                for secret in [number, other] {
                    let search = SecretSearch(secret, what: "number")
                    #expect(search.isIn(created.text) == (secret == number), "the search finds what is there")
                    for reply in replies { #expect(!search.isIn(reply), "a device's reply") }
                    #expect(!search.isIn(reader.text) && !search.isIn(trail.text))
                    #expect(!search.isIn(timelines), "the timeline")
                    for record in records {
                        let headers = record.headers.map { record.headers.text(of: $0.name) ?? "" }.joined(
                            separator: "\n")
                        let parts = [record.value, record.key, Array(headers.utf8)]
                        #expect(!parts.contains { search.isIn($0) }, "\(record.topicPartition.topic)")
                    }
                    for file in files { #expect(!search.isIn([UInt8](file)), "the store's file") }
                    #expect(!search.isIn(lines.all), "the log")
                }
                // Nor does the phone learn the action's key.
                for reply in replies { #expect(!reply.contains("attempt-1") && !reply.contains("attempt-2")) }
            }
        }
    }

    private func withWriter(
        _ producer: ProducerHarness, _ body: @Sendable (KafkaProducer) async throws -> Void
    ) async throws {
        let writer = try KafkaProducer(configuration: producer.kafka, logger: ProducerHarness.logger)
        do {
            try await body(writer)
        } catch {
            await writer.close(deadline: .seconds(5))
            throw error
        }
        await writer.close(deadline: .seconds(5))
    }
}
