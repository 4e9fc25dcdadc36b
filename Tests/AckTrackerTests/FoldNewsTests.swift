import ChallengeModel
import Testing

@testable import AckTracker

@Suite("Fold: what follows from reading")
struct FoldNewsTests {
    @Test("dispatched and confirmed come once, failed pushes once per device and dispatch, nothing on replay")
    func news() {
        var story = FoldStory(devices: 2)
        story.at(0, story.dispatch())
        func words(_ news: [Fold.News]) -> [String] {
            news.compactMap { DerivedEvent.event($0, nowMs: 1, sequence: 1, partition: 0)?.id.split(separator: "/")[1] }
                .map(
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
