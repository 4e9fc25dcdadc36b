import ChallengeModel
import Testing

@testable import AckTracker

@Suite("Derived events")
struct EventTests {
    @Test(
        "a failed push has the debugger's code",
        arguments: [
            (Platform.apn, Disposition.rejected, 400, "BadDeviceToken", 52134),
            (.apn, .tokenDead, 410, "Unregistered", 52141),
            (.apn, .tokenDead, 410, "", 52141), (.apn, .rejected, 400, "TopicDisallowed", 52143),
            (.apn, .rejected, 413, "", 52138), (.apn, .credentialFault, 403, "InvalidProviderToken", 52147),
            (.apn, .credentialFault, 0, "", 52004), (.apn, .rejected, 400, "Whatever", 52140),
            (.fcm, .tokenDead, 404, "UNREGISTERED", 52103), (.fcm, .rejected, 403, "SENDER_ID_MISMATCH", 52104),
            (.fcm, .rejected, 400, "INVALID_ARGUMENT", 52102), (.fcm, .credentialFault, 401, "", 52109),
            (.fcm, .rejected, 400, "Whatever", 52111), (.noPush, .rejected, 0, "", 52301),
            (.hms, .tokenDead, 0, "", 52001),
        ] as [(Platform, Disposition, UInt32, String, Int64)])
    func codes(platform: Platform, disposition: Disposition, status: UInt32, reason: String, code: Int64) {
        #expect(
            PushErrorCode.code(platform: platform, disposition: disposition, status: status, reason: reason) == code)
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
