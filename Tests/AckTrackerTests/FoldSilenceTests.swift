import ChallengeModel
import Testing

@testable import AckTracker

@Suite("Fold: devices that never confirm")
struct FoldSilenceTests {
    private static func story(devices: Int = 1) -> FoldStory {
        var story = FoldStory(devices: devices)
        story.isPushedOnce = true
        return story
    }

    @Test("an accepted push is not repeated; the backend is told when 40 % of the life is left, not before")
    func once() throws {
        var story = Self.story()
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted))
        #expect(story.pushAt == nil)
        #expect(story.escalateAt == 180_000)
        #expect(story.escalates(179_999) == nil && story.pushes(179_999) == nil)
        let escalation = try #require(story.escalates(180_000))
        #expect(escalation.attempts == 1 && escalation.devices.map(\.reason) == ["no-receipt"])
        let view = try #require(story.fold.view(story.sid, partition: 0, at: FoldStory.time(9_000)))
        #expect(view.devices.map(\.state) == ["pushed-once"])
    }

    @Test("a poll, a receipt or an answer counts as for any device", arguments: 0..<3)
    func confirmed(which: Int) {
        var story = Self.story()
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted))
        switch which {
        case 0: story.at(200, story.receipt(channel: .poll))
        case 1: story.at(200, story.receipt(shown: .yes))
        default: story.at(200, story.resolution())
        }
        #expect(story.pushAt == nil && story.escalateAt == nil)
    }

    @Test("what is no silence is tried again: a deferral, an unknown answer, a refused credential, a new push token")
    func failures() throws {
        for disposition in [Disposition.deferred, .unknown, .credentialFault] {
            var story = Self.story()
            story.at(0, story.dispatch())
            story.at(100, story.outcome(disposition, retryAtMs: disposition == .deferred ? 5_000 : 0))
            let due = try #require(story.pushAt)
            let push = try #require(story.pushes(due))
            #expect(push.dispatchID == "t1" && push.targets.map(\.pushOnce) == [true])
            story.at(20_000, story.dispatch("t1"))
            story.at(20_100, story.outcome(.accepted, "t1", atMs: 20_100))
            #expect(story.pushAt == nil)
        }
        var story = Self.story()
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted, atMs: 100))
        story.at(5_000, story.outcome(.tokenDead, "c", kind: .background, atMs: 5_000))
        story.at(6_000, story.registered(token: "cc", registeredAtMs: 6_000))
        #expect(story.pushAt == 6_000)
    }

    @Test("a resend is pushed, and its silence too is no reason to push again, however many there were")
    func resends() throws {
        var story = Self.story()
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted))
        for number in 0..<4 {
            let resend = "n:\(NotificationSID(bytes: (0..<16).map { UInt8($0 + number) }))"
            let ms = Int64(number + 1) * 10_000
            story.at(ms, story.dispatch(resend))
            story.at(ms + 50, story.outcome(.accepted, resend, atMs: ms + 50))
            #expect(story.pushAt == nil && story.escalateAt == 180_000)
        }
    }

    @Test("beside a device that confirms, only that one is pushed again; a record that says so wins in any order")
    func beside() throws {
        var story = Self.story(devices: 2)
        var isOld = false
        let dispatch = { (story: FoldStory) in
            story.dispatch { dispatch in
                dispatch.targets[1].pushOnce = false
                if isOld { dispatch.targets[0].pushOnce = false }
            }
        }
        story.at(0, dispatch(story))
        for device in 0..<2 { story.at(100, story.outcome(.accepted, device: device, atMs: 100)) }
        var due = try #require(story.pushAt)
        let push = try #require(story.pushes(due))
        #expect(push.targets.map(\.factorSid) == [story.factors[1].rawValue])
        #expect(push.targets.map(\.pushOnce) == [false])
        // A version without the field wrote it: as it was then.
        isOld = true
        story.at(200, dispatch(story))
        due = try #require(story.pushAt)
        #expect(story.pushes(due)?.targets.count == 2)
    }

    @Test("a device whose notifications are off is told of as before")
    func hidden() {
        var story = Self.story()
        story.isSilenced = true
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted, atMs: 100))
        #expect(story.escalateAt == 8_100)
    }

    @Test("a state that was carried says it too")
    func carried() throws {
        var story = Self.story()
        story.lifeMs = 3_000_000
        story.at(0, story.dispatch())
        story.at(100, story.outcome(.accepted, atMs: 100))
        let (state, fact) = try story.carried(700_000)
        #expect(state.dispatch.targets.map(\.pushOnce) == [true])
        var next = story
        next.fold = Fold(policy: .test)
        next.fold.start(at: FoldStory.time(700_000))
        next.at(700_000, fact)
        #expect(next.pushAt == nil)
    }
}
