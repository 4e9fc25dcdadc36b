import ChallengeModel
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
            DerivedEvent.event(.pushFailed(outcome), nowMs: 5, sequence: 1)?.data["error_code"]
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
        let first = try #require(DerivedEvent.event(.undelivered(escalation), nowMs: 5, sequence: 1))
        let second = try #require(DerivedEvent.event(.undelivered(escalation), nowMs: 9, sequence: 2))
        #expect(first.id == second.id && first.id == "\(story.challenge)/challenge.undelivered")
        #expect(first.subject == story.challenge.rawValue && first.type == "beckon.challenge.undelivered")
        #expect(first.data["fallbacks"] == .list(["sms", "voice"]))
        let reasons = first.data["devices"]?.listValue?.compactMap { $0["reason"]?.stringValue }
        #expect(reasons == ["token-dead", "no-receipt"])
        #expect(try CloudEvent(json: first.jsonBytes()) == first)
    }
}
