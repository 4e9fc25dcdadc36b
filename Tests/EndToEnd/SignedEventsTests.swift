import ChallengeModel
import Foundation
import KafkaClient
import Logging
import Simulators
import TestSupport
import Testing
import Wire

@Suite("Signed events", .timeLimit(.minutes(10)))
struct SignedEventsTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("a backend without secrets tells a forged challenge.approved from a genuine one")
    func forged() async throws {
        try await BeckonCluster.with { cluster in
            let keys = try await BeckonProcess.output(of: ["keys", "new"]).trimmingCharacters(in: .newlines)
            for (name, role) in [("producer", "producer"), ("dispatcher", "dispatcher"), ("tracker", "ack-tracker")] {
                try cluster.start(name, role, more: ["BECKON_EVENT_KEYS": keys])
            }
            for name in ["producer", "dispatcher", "tracker"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.startPhones(1, behaviour: "answers")
            let producer = try KafkaProducer(configuration: cluster.kafka, logger: logger)
            let topic = cluster.names[.events]
            try await TopicTail.following([topic], kafka: cluster.kafka, logger: logger) { tail in
                let sid = try await cluster.backend.createChallenge(
                    serviceSID: service, identity: "person-00001", ChallengeDraft(message: "Is this really you?")
                ).sid
                func approvals() throws -> [CloudEvent] {
                    try tail.records(of: topic).map { try CloudEvent(json: $0.value) }.filter {
                        $0.subject == sid && $0.type == "beckon.challenge.approved"
                    }
                }
                func types() throws -> Set<String> {
                    Set(try tail.records(of: topic).map { try CloudEvent(json: $0.value).type })
                }
                try await eventually("the approval, and events of both writers") {
                    try approvals().count == 1 && types().contains("beckon.challenge.confirmed")
                }
                let genuine = try #require(
                    tail.records(of: topic).first { String(decoding: $0.value, as: UTF8.self).contains("approved") })
                // Somebody who may write to the topic: with another key of the same id, without a signature, and with
                // the signature of a genuine event.
                let stranger = EventSigner(keys: .random(id: "e1"))
                let value = Array(
                    String(decoding: genuine.value, as: UTF8.self)
                        .replacingOccurrences(of: sid, with: "YC" + String(repeating: "0", count: 32)).utf8)
                let seal = genuine.headers.filter { $0.name == EventSigner.headerName }
                let forgeries = [
                    [], seal, [RecordHeader(EventSigner.headerName, stranger.signature(of: value))],
                ].map { headers in
                    ProducerRecord(
                        topic: topic, key: genuine.key, value: value,
                        headers: [RecordHeader(ContentType.headerName, ContentType.cloudEvent.rawValue)] + headers)
                }
                for forgery in forgeries { _ = try await producer.send(forgery) }
                try await eventually("the forgeries can be read") {
                    tail.records(of: topic).count { $0.value == value } == forgeries.count
                }
                let records = tail.records(of: topic)
                let (status, lines) = try await EventReaders.example(records, apiURL: cluster.apiURL)
                if status == 77 { try Test.cancel("PyPI cannot be reached") }
                #expect(status == 1, "\(lines)")
                #expect(lines.count == records.count, "\(lines)")
                for (record, line) in zip(records, lines) {
                    #expect(line.hasPrefix(record.value == value ? "FORGED" : "genuine"), "\(line)")
                }
                #expect(lines.contains("genuine beckon.challenge.approved \(sid)"))
            }
            await producer.close(deadline: .seconds(5))
        }
    }

    @Test("beckon keys makes a key, lists public keys only, and rotates with an overlap")
    func commands() async throws {
        let key = try await BeckonProcess.output(of: ["keys", "new", "--id", "mine"]).trimmingCharacters(in: .newlines)
        let environment = ["BECKON_EVENT_KEYS": key]
        let list = try await BeckonProcess.output(of: ["keys", "list"], environment: environment)
        #expect(list.trimmingCharacters(in: .newlines) == EventSigner(keys: try KeyRing(parsing: key)).keySet.text)
        #expect(!list.contains(key.dropFirst("mine:".count)))
        let text = try await BeckonProcess.output(of: ["keys", "rotate"], environment: environment)
        let steps = try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
        func ids(_ step: String) throws -> [String] {
            try KeyRing(parsing: steps[step] ?? "").keys.map(\.id)
        }
        #expect(try ids("announced") == ["mine", "e1"])
        #expect(try ids("in_use") == ["e1", "mine"])
        #expect(try ids("retired") == ["e1"])
        let failure = await #expect(throws: BeckonProcess.Failure.self) {
            _ = try await BeckonProcess.output(of: ["keys", "list"])
        }
        #expect(failure?.description.contains("BECKON_EVENT_KEYS is not set") == true)
    }

    private func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < end {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw BeckonProcess.Failure(description: "no \(what) within 90 s")
    }
}
