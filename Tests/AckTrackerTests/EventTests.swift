import ChallengeModel
import KafkaClient
import ServiceSupport
import TestSupport
import Testing

@testable import AckTracker

@Suite("Derived events")
struct EventTests {
    @Test("a failed push has the record's error code; a record of a version that wrote none gets the provider's")
    func failed() throws {
        var outcome = PushOutcome()
        outcome.platform = .apn
        outcome.disposition = .rejected
        outcome.reason = "BadDeviceToken"
        func code() -> EventValue? {
            DerivedEvent.event(.pushFailed(outcome), nowMs: 5, sequence: 1, partition: 0)?.data["error_code"]
        }
        #expect(code() == "52134")
        outcome.cause = .tokenUnknown
        outcome.errorCode = 59_999
        #expect(code() == "59999")
    }

    @Test("the event of an escalation names every device's reason and the fall-backs in order; its id is stable")
    func undelivered() throws {
        var story = FoldStory(devices: 2)
        story.at(0, story.dispatch())
        story.at(1, story.outcome(.tokenDead, reason: "Unregistered"), story.outcome(.accepted, device: 1))
        let escalation = try #require(story.escalates(180_000))
        let first = try #require(DerivedEvent.event(.undelivered(escalation), nowMs: 5, sequence: 1, partition: 0))
        let second = try #require(DerivedEvent.event(.undelivered(escalation), nowMs: 9, sequence: 2, partition: 0))
        #expect(first.id == second.id && first.id == "\(story.challenge)/challenge.undelivered")
        #expect(first.subject == story.challenge.rawValue && first.type == "beckon.challenge.undelivered")
        #expect(first.data["fallbacks"] == .list(["sms", "voice"]))
        let reasons = first.data["devices"]?.listValue?.compactMap { $0["reason"]?.stringValue }
        #expect(reasons == ["token-dead", "no-receipt"])
        #expect(try CloudEvent(json: first.jsonBytes()) == first)
    }

    @Test(
        "each type of the tracker is verified by the example, read by a published SDK, and as docs/schemas describe it")
    func readable() async throws {
        var story = FoldStory(devices: 2)
        var news = story.at(0, story.dispatch())
        news += story.at(1, story.outcome(.tokenDead, reason: "Unregistered"), story.outcome(.accepted, device: 1))
        let escalation = try #require(story.escalates(180_000))
        news.append(.undelivered(escalation))
        var other = FoldStory(devices: 1)
        _ = other.at(0, other.dispatch())
        news += other.at(1, other.outcome(.accepted))
        news += other.at(2, other.receipt())
        let events = EventSigner(keys: .random(id: "e1"))
        let signer = RecordSigner(
            names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()), eventSigner: events)
        var records: [ProducerRecord] = []
        for (index, item) in news.enumerated() {
            let event = DerivedEvent.event(item, nowMs: Int64(5 + index), sequence: UInt64(index), partition: 11)
            guard let event else { continue }
            records.append(
                signer.record(.events, key: event.subject, value: event.jsonBytes(), contentType: .cloudEvent))
        }
        let report = try await EventReaders.check(
            records, keys: events,
            types: [.challengeDispatched, .challengeConfirmed, .challengeUndelivered, .pushFailed])
        guard let report else { try Test.cancel("PyPI cannot be reached") }
        #expect(report.checked == records.count)
        #expect(report.problems == [])
    }
}
