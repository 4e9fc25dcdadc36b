import ChallengeModel
import Testing

@testable import AckTracker

@Suite("Fold: next attempts")
struct FoldAttemptTests {
    @Test("without a receipt t1 is due after the expected latency, not before, with at most a tenth of jitter")
    func first() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        #expect(story.pushAt == nil, "without an outcome the dispatch is still in the log")
        story.at(100, story.outcome(.accepted))
        let due = try #require(story.pushAt)
        #expect((8_100...8_900).contains(due))
        #expect(story.pushes(due - 1) == nil)
        let push = try #require(story.pushes(due))
        #expect(push.dispatchID == "t1")
        #expect(push.targets.map(\.factorSid) == [story.factors[0].rawValue])
        #expect(push.targets[0].pushToken == "aabb")
        #expect(push.message == "Sign in?" && push.identity == "person-1")
        #expect(push.expiresAtMs == FoldStory.epochMs + 300_000 && push.createdAtMs == FoldStory.epochMs)
    }

    @Test("attempts wait longer and longer, end after four accepted, and then escalate one latency later")
    func rounds() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(0, story.outcome(.accepted))
        var last: Int64 = 0
        var waits: [Int64] = []
        for number in 1...3 {
            let due = try #require(story.pushAt)
            waits.append(due - last)
            #expect(story.pushes(due)?.dispatchID == "t\(number)")
            story.at(due, story.dispatch("t\(number)"))
            #expect(story.pushAt == nil, "not again while it is on its way")
            story.at(due + 10, story.outcome(.accepted, "t\(number)"))
            last = due + 10
        }
        #expect(waits == waits.sorted() && waits[0] >= 8_000 && waits[2] > 16_000)
        #expect(story.pushAt == nil)
        #expect(story.escalateAt == last + 8_000)
        #expect(story.escalates(last + 7_999) == nil)
        let escalation = try #require(story.escalates(last + 8_000))
        #expect(escalation.attempts == 4)
        #expect(escalation.devices.map(\.reason) == ["no-receipt"])
        #expect(escalation.devices[0].lastAttemptAtMs == FoldStory.epochMs + last)
        #expect(escalation.fallbacks == ["sms", "voice"])
    }

    @Test("a receipt, a poll, an answer or its end stop it", arguments: 0..<4)
    func stops(which: Int) {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        switch which {
        case 0: story.at(20, story.receipt())
        case 1: story.at(20, story.receipt(channel: .poll))
        case 2: story.at(20, story.resolution(.approved))
        default: story.at(20, story.resolution(.superseded))
        }
        #expect(story.pushAt == nil && story.escalateAt == nil)
        #expect(story.decide(299_000).isEmpty)
    }

    @Test("a receipt before the outcome counts as well")
    func early() {
        var story = FoldStory()
        story.at(0, story.receipt())
        story.at(1, story.dispatch())
        story.at(2, story.outcome(.accepted))
        #expect(story.pushAt == nil && story.escalateAt == nil)
    }

    @Test("a late receipt of an earlier push stops the attempts as well, whichever dispatch it names")
    func lateReceipt() throws {
        for dispatch in ["c", "t1"] {
            var story = FoldStory()
            story.at(0, story.dispatch(), story.outcome(.accepted))
            let due = try #require(story.pushAt)
            story.at(due, story.dispatch("t1"), story.outcome(.accepted, "t1"))
            #expect(story.pushAt != nil)
            story.at(due + 10, story.receipt(dispatch: dispatch))
            #expect(story.pushAt == nil)
            #expect(story.escalateAt == nil)
        }
    }

    @Test("each goes on to the devices that have not confirmed; any ends with the first")
    func confirm() throws {
        for mode in [Confirmation.each, .any] {
            var story = FoldStory(devices: 2)
            story.redelivery.confirm = mode
            story.at(0, story.dispatch())
            story.at(10, story.outcome(.accepted), story.outcome(.accepted, device: 1))
            story.at(20, story.receipt(device: 1))
            if mode == .any {
                #expect(story.pushAt == nil)
            } else {
                let due = try #require(story.pushAt)
                #expect(story.pushes(due)?.targets.map(\.factorSid) == [story.factors[0].rawValue])
            }
            #expect(story.escalateAt == nil, "a device has the question")
        }
    }

    @Test("a receipt that says it is not shown ends nothing for the other devices of any")
    func hiddenAny() {
        var story = FoldStory(devices: 2)
        story.redelivery.confirm = .any
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted), story.outcome(.accepted, device: 1))
        story.at(20, story.receipt(device: 1, shown: .no))
        #expect(story.pushAt != nil)
    }

    @Test("an attempt that the dispatcher drops because of a receipt is not repeated at once")
    func droppedAsConfirmed() throws {
        var story = FoldStory(devices: 2)
        story.redelivery.confirm = .any
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted), story.outcome(.accepted, device: 1))
        var last = Int64(10)
        for attempt in 1...3 {
            let due = try #require(story.pushAt)
            #expect(due >= last + 1_000)
            story.at(due, story.dispatch("t\(attempt)"))
            story.at(
                due + 10, story.outcome(.dropped, "t\(attempt)", atMs: due + 10, drop: .confirmedBeforePush),
                story.outcome(.dropped, "t\(attempt)", device: 1, atMs: due + 10, drop: .confirmedBeforePush))
            last = due + 10
        }
    }

    @Test("deferred: at the time given, and it uses up no attempt")
    func deferred() throws {
        var story = FoldStory()
        story.redelivery.maxAttempts = 1
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.deferred, retryAtMs: 20_000, reason: "QUOTA_EXCEEDED"))
        #expect(story.pushAt == 20_000)
        story.at(20_000, story.dispatch("t1"))
        story.at(20_010, story.outcome(.deferred, "t1", retryAtMs: 20_011))
        let again = try #require(story.pushAt)
        #expect(again >= 21_500, "a provider that says `at once` again and again is not asked at once")
        story.at(again, story.dispatch("t2"))
        story.at(again, story.outcome(.accepted, "t2"))
        #expect(story.pushAt == nil, "now the one attempt is used up")
    }

    @Test("unknown counts as possibly accepted: the latency, then again")
    func unknown() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.unknown))
        let due = try #require(story.pushAt)
        #expect((8_010...8_810).contains(due))
        #expect(story.pushes(due)?.dispatchID == "t1")
    }

    @Test("a resend restarts the timer and counts as an attempt")
    func resend() throws {
        var story = FoldStory()
        story.redelivery.maxAttempts = 2
        let sid = NotificationSID.generate(nowMs: 0)
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        story.at(5_000, story.dispatch("n:\(sid)"))
        #expect(story.pushAt == nil, "the resend is on its way")
        story.at(5_010, story.outcome(.accepted, "n:\(sid)"))
        #expect(story.pushAt == nil && story.escalateAt == 13_010, "both attempts are used")
        story.redelivery.maxAttempts = 3
        var third = FoldStory()
        third.redelivery.maxAttempts = 3
        third.at(0, third.dispatch())
        third.at(10, third.outcome(.accepted))
        third.at(5_000, third.dispatch("n:\(sid)"), third.outcome(.accepted, "n:\(sid)"))
        #expect(try #require(third.pushAt) >= 5_000 + 12_000)
    }

    @Test("a dead token is not pushed to again, its successor is, at once")
    func deadToken() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.tokenDead, reason: "Unregistered"))
        #expect(story.pushAt == nil)
        story.at(5_000, story.registered(token: "ccdd", registeredAtMs: 2))
        #expect(story.pushAt == 5_000)
        let push = try #require(story.pushes(5_000))
        #expect(push.targets[0].pushToken == "ccdd" && push.targets[0].registeredAtMs == 2)
        story.at(5_010, story.dispatch("t1") { $0.targets = push.targets })
        story.at(5_020, story.outcome(.tokenDead, registeredAtMs: 1))
        #expect(story.fold.plan(story.fold.table[0], nowMs: 0).pushAt == nil, "t1 is on its way")
        story.at(5_030, story.outcome(.accepted, "t1", registeredAtMs: 2))
        #expect(try #require(story.pushAt) >= 13_030)
    }

    @Test("a token that changed while its push was accepted is used for the next attempt")
    func newToken() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted), story.registered(token: "eeff", registeredAtMs: 9))
        let due = try #require(story.pushAt)
        #expect(due >= 8_010)
        #expect(story.pushes(due)?.targets[0].pushToken == "eeff")
    }

    @Test("one dead device does not keep the others from their attempts")
    func independent() throws {
        var story = FoldStory(devices: 3)
        story.at(0, story.dispatch())
        story.at(
            10, story.outcome(.tokenDead), story.outcome(.accepted, device: 1), story.outcome(.accepted, device: 2))
        story.at(20, story.gone(device: 2))
        let due = try #require(story.pushAt)
        #expect(story.pushes(due)?.targets.map(\.factorSid) == [story.factors[1].rawValue])
    }

    @Test(
        "a device that is gone is not pushed to by the tracker any more, also after a resend, and the backend is told at once"
    )
    func gone() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        #expect(story.pushAt != nil)
        story.at(20, story.gone())
        #expect(story.pushAt == nil)
        #expect(story.escalates(21)?.devices.map(\.reason) == ["no-device"])
        let resend = "n:\(NotificationSID(bytes: (0..<16).map { UInt8($0) }))"
        story.at(
            30, story.escalation(), story.registered(token: "aabb", registeredAtMs: 1), story.dispatch(resend),
            story.outcome(.accepted, resend, atMs: 30))
        #expect(story.pushAt == nil)
    }

    @Test("background pushes stay within their budget")
    func budget() throws {
        var story = FoldStory()
        story.backgroundBudget = 2
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted), story.outcome(.accepted, kind: .background))
        var due = try #require(story.pushAt)
        #expect(story.pushes(due)?.targets[0].backgroundBudget == 1)
        story.at(
            due, story.dispatch("t1"), story.outcome(.accepted, "t1"), story.outcome(.unknown, "t1", kind: .background))
        due = try #require(story.pushAt)
        #expect(story.pushes(due)?.targets[0].backgroundBudget == 0)
    }

    @Test(
        "an attempt that would leave no time is not made; in a short life the attempts move together",
        arguments: [
            12_000, 30_000, 60_000,
        ] as [Int64])
    func shortLife(lifeMs: Int64) throws {
        var story = FoldStory()
        story.lifeMs = lifeMs
        story.at(0, story.dispatch(), story.outcome(.accepted))
        var number = 0
        while let due = story.pushAt {
            #expect(due <= lifeMs - 5_000)
            number += 1
            story.at(due, story.dispatch("t\(number)"), story.outcome(.accepted, "t\(number)"))
        }
        // In 30 s the jitter decides whether the third still fits.
        #expect(lifeMs == 12_000 ? number == 0 : lifeMs == 30_000 ? (2...3).contains(number) : number == 3)
    }

    @Test("the jitter of a challenge is the same in every process")
    func jitter() {
        let sid = PackedSID("YC03" + String(repeating: "1a", count: 15), prefix: "YC")
        #expect(sid?.mixed(1) == 0xb9ed26c4e73cb2da)
        var ends: Set<Int64> = []
        for _ in 0..<50 {
            var story = FoldStory()
            story.at(0, story.dispatch(), story.outcome(.accepted))
            ends.insert(story.pushAt ?? 0)
        }
        #expect(ends.count > 20, "different challenges do not move in step")
    }
}
