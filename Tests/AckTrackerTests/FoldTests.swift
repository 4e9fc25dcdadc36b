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

@Suite("Fold: escalation")
struct FoldEscalationTests {
    @Test("nobody confirmed when 40 % of the life is left: the backend is told")
    func latest() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.deferred, retryAtMs: 200_000, reason: "UNAVAILABLE"))
        #expect(story.escalateAt == 180_000)
        let escalation = try #require(story.escalates(180_000))
        #expect(escalation.devices.map(\.reason) == ["provider-down"])
        #expect(escalation.devices[0].detail == "UNAVAILABLE")
    }

    @Test("without any outcome at half of the remaining life, and nothing is pushed again")
    func noOutcome() throws {
        var story = FoldStory()
        story.at(20_000, story.dispatch())
        #expect(story.escalateAt == 160_000)
        #expect(story.escalates(160_000)?.devices.map(\.reason) == ["no-outcome"])
        #expect(story.pushes(299_000) == nil)
    }

    @Test(
        "no device can be reached: at once",
        arguments: [
            (Disposition.tokenDead, "token-dead"), (.rejected, "refused"), (.credentialFault, "refused"),
        ])
    func unreachable(disposition: Disposition, reason: String) throws {
        var story = FoldStory(devices: 2)
        story.at(0, story.dispatch())
        story.at(10, story.outcome(disposition, reason: "word"))
        #expect(story.escalateAt == 150_000, "the other device may be reached")
        story.at(20, story.gone(device: 1))
        let escalation = try #require(story.escalates(21))
        #expect(Set(escalation.devices.map(\.reason)) == [reason, "no-device"])
        #expect(escalation.devices.first { $0.reason == reason }?.detail == "word")
    }

    @Test("a faulty credential is tried again, for it may be mended, and uses up no attempt")
    func credential() throws {
        var story = FoldStory()
        story.redelivery.maxAttempts = 1
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.credentialFault))
        let due = try #require(story.pushAt)
        #expect(due >= 8_010)
        story.at(due, story.dispatch("t1"), story.outcome(.accepted, "t1"))
        #expect(story.pushAt == nil)
    }

    @Test("a device without pushes gets the time of a poll, then the backend is told")
    func noPush() throws {
        var story = FoldStory()
        story.platform = .noPush
        story.at(0, story.dispatch())
        story.at(5, story.outcome(.dropped, drop: .noPushChannel))
        #expect(story.pushAt == nil)
        #expect(story.escalates(8_000)?.devices.map(\.reason) == ["no-device"])
        story.at(6_000, story.receipt(channel: .poll))
        #expect(story.escalateAt == nil)
    }

    @Test("hidden: it arrived where the person cannot see it, with no poll and no answer")
    func hidden() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        story.at(500, story.receipt(channel: .backgroundPush, shown: .no))
        #expect(story.pushAt == nil, "never again to a device that confirmed")
        #expect(story.escalateAt == 8_500)
        let escalation = try #require(story.escalates(8_500))
        #expect(escalation.devices.map(\.reason) == ["hidden"])
        #expect(escalation.advice == "ask the person to open the app")
        story.at(600, story.receipt(channel: .poll))
        #expect(story.escalateAt == nil)
    }

    @Test("a device known to show nothing is pushed once, then hidden")
    func silenced() throws {
        var story = FoldStory()
        story.isSilenced = true
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        #expect(story.pushAt == nil)
        #expect(story.escalates(8_010)?.devices.map(\.reason) == ["hidden"])
        story.at(20, story.receipt(channel: .backgroundPush, shown: .unknown))
        #expect(story.escalateAt == 8_020, "it arrived, but is not shown")
        story.at(30, story.receipt(channel: .visiblePush, shown: .yes))
        #expect(story.escalateAt == nil)
    }

    @Test("once per challenge, and pushing goes on after it while attempts are left")
    func once() throws {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.deferred, retryAtMs: 190_000))
        let news = story.at(180_000, story.escalation())
        #expect(news.count == 1)
        #expect(story.at(180_001, story.escalation()).isEmpty)
        #expect(story.escalateAt == nil)
        #expect(story.pushes(190_000)?.dispatchID == "t1")
    }

    @Test("a receipt or an answer after it counts")
    func after() {
        var story = FoldStory()
        story.at(0, story.dispatch(), story.outcome(.accepted), story.escalation())
        story.at(10, story.receipt())
        #expect(story.pushAt == nil)
    }

    @Test("nothing is pushed or escalated from the expiry on, and the hold ends 60 s later")
    func expiry() {
        var story = FoldStory()
        story.at(0, story.dispatch())
        story.at(10, story.outcome(.accepted))
        #expect(!story.decide(299_999).isEmpty)
        #expect(story.decide(300_000).isEmpty)
        _ = story.fold.due(at: FoldStory.time(359_000))
        #expect(story.fold.count == 1)
        _ = story.fold.due(at: FoldStory.time(360_100))
        #expect(story.fold.count == 0)
        story.at(360_200, story.dispatch("t9"))
        #expect(story.fold.count == 0, "a zombie's record is not something new")
    }
}

@Suite("Fold: what follows from reading")
struct FoldNewsTests {
    @Test("dispatched and confirmed come once, failed pushes once per device and dispatch, nothing on replay")
    func news() {
        var story = FoldStory(devices: 2)
        story.at(0, story.dispatch())
        func words(_ news: [Fold.News]) -> [String] {
            news.compactMap { DerivedEvent.event($0, nowMs: 1, sequence: 1)?.id.split(separator: "/")[1] }.map(
                String.init)
        }
        #expect(words(story.at(1, story.outcome(.accepted))) == ["challenge.dispatched"])
        #expect(words(story.at(2, story.outcome(.accepted), story.outcome(.accepted, device: 1))) == [])
        #expect(words(story.at(3, story.outcome(.tokenDead, "t1", device: 1))) == ["push.failed"])
        #expect(words(story.at(3, story.outcome(.tokenDead, "t1", device: 1))) == [])
        #expect(words(story.at(4, story.receipt())) == ["challenge.confirmed"])
        #expect(words(story.at(5, story.receipt(), story.receipt(device: 1))) == [])
        var replayed = FoldStory()
        let facts = [replayed.dispatch(), replayed.outcome(.accepted), replayed.receipt(), replayed.escalation()]
        for fact in facts {
            #expect(
                replayed.fold.apply(fact, recordedMs: 0, at: FoldStory.time(9, isReplay: true), isNews: false).isEmpty)
        }
    }

    @Test("a challenge confirmed after it was answered is still told")
    func late() {
        var story = FoldStory()
        story.at(0, story.dispatch(), story.resolution())
        #expect(story.at(1, story.receipt()).contains { if case .confirmed = $0 { true } else { false } })
    }

    @Test("early facts wait for their challenge, within a bound of time and of number")
    func early() {
        var policy = TrackerPolicy.test
        policy.maxEarly = 3
        var fold = Fold(policy: policy)
        fold.start(at: FoldStory.time(0))
        var dropped = 0
        for _ in 0..<5 {
            let story = FoldStory()
            for news in fold.apply(story.receipt(), recordedMs: 0, at: FoldStory.time(0)) {
                if case .dropped = news { dropped += 1 }
            }
        }
        #expect(fold.count == 3 && dropped == 2)
        let story = FoldStory()
        _ = fold.apply(story.dispatch(), recordedMs: 0, at: FoldStory.time(1))
        #expect(fold.count == 4, "a challenge always has room")
        _ = fold.due(at: FoldStory.time(60_100))
        #expect(fold.count == 1 && fold.earlyCount == 0)
    }

    @Test("on replay old facts of challenges that are gone are not kept")
    func stale() {
        let story = FoldStory()
        var fold = Fold(policy: .test)
        let now = FoldTime(localMs: FoldStory.epochMs + 900_000, wallMs: FoldStory.epochMs + 900_000, isReplay: true)
        _ = fold.apply(story.dispatch(), recordedMs: FoldStory.epochMs, at: now)
        _ = fold.apply(story.receipt(), recordedMs: FoldStory.epochMs + 100, at: now)
        _ = fold.apply(story.outcome(.accepted), recordedMs: FoldStory.epochMs + 100, at: now)
        _ = fold.apply(story.resolution(), recordedMs: FoldStory.epochMs + 100, at: now)
        #expect(fold.count == 0)
    }
}
