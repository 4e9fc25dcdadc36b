import ChallengeModel
import Testing

@testable import AckTracker

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
        "a dispatcher that calls it expired while it is open has a wrong clock: the backend is told as if there were no outcome"
    )
    func wrongClock() throws {
        var story = FoldStory()
        story.at(20_000, story.dispatch())
        story.at(20_010, story.outcome(.dropped, drop: .expiredBeforePush))
        #expect(story.escalateAt == 160_000)
        #expect(story.escalates(160_000)?.devices.map(\.reason) == ["no-outcome"])
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

    @Test("a credential that stays at fault is tried ever later, and told once")
    func credentialStaysFaulty() throws {
        var story = FoldStory()
        story.lifeMs = 3_600_000
        var told = 0
        func failures(_ news: [Fold.News]) -> Int { news.count { if case .pushFailed = $0 { true } else { false } } }
        story.at(0, story.dispatch())
        var nowMs: Int64 = 10
        var waits: [Int64] = []
        for attempt in 0..<12 {
            let id = attempt == 0 ? "c" : "t\(attempt)"
            if attempt > 0 { story.at(nowMs, story.dispatch(id)) }
            told += failures(story.at(nowMs, story.outcome(.credentialFault, id, atMs: nowMs)))
            guard let due = story.pushAt else { break }
            waits.append(due - nowMs)
            nowMs = due
        }
        // 8 s, then half as much again each time, up to a quarter of the life; a tenth of 8 s is jitter.
        #expect(waits.count >= 8 && zip(waits, waits.dropFirst()).allSatisfy { $1 > $0 || $0 >= 900_000 })
        #expect(waits.count <= 12 && waits.reduce(0, +) > 1_200_000, "\(waits)")
        #expect(told == 1, "one incident, one push.failed")
        // A circuit that is open meanwhile ends no incident.
        story.at(nowMs, story.dispatch("t18"), story.outcome(.deferred, "t18", retryAtMs: nowMs, atMs: nowMs))
        told += failures(
            story.at(nowMs + 50, story.dispatch("t19"), story.outcome(.credentialFault, "t19", atMs: nowMs + 50)))
        #expect(told == 1)
        // Mended, and at fault again: that is another.
        story.at(nowMs + 60, story.dispatch("t20"), story.outcome(.accepted, "t20", atMs: nowMs + 60))
        told += failures(
            story.at(nowMs + 100, story.dispatch("t21"), story.outcome(.credentialFault, "t21", atMs: nowMs + 100)))
        #expect(told == 2)
    }

    @Test("a device without pushes gets the time of a poll, then the backend is told")
    func noPush() throws {
        var story = FoldStory()
        story.platform = .noPush
        story.at(0, story.dispatch())
        story.at(5, story.outcome(.dropped, drop: .noPushChannel))
        #expect(story.pushAt == nil)
        #expect(story.escalates(7_999) == nil)
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

    @Test(
        "a device known to show nothing is pushed again while no provider has taken a push",
        arguments: [
            ("withdrawn", Disposition.deferred), ("access-token", .deferred), ("connection", .deferred),
            ("credential", .credentialFault),
        ])
    func silencedAndDeferred(_ reason: String, _ disposition: Disposition) throws {
        var story = FoldStory()
        story.isSilenced = true
        story.at(0, story.dispatch())
        story.at(10, story.outcome(disposition, reason: reason))
        let pushAt = try #require(story.pushAt)
        #expect(pushAt < 30_000)
        #expect(story.pushes(pushAt)?.dispatchID == "t1")
        story.at(pushAt + 10, story.outcome(.accepted, "t1"))
        #expect(story.pushAt == nil)
        #expect(story.escalates(pushAt + 8_010)?.devices.map(\.reason) == ["hidden"])
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
