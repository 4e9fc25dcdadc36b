import ChallengeModel
import Testing

@testable import AckTracker

@Suite("Positions and commits")
struct PositionTests {
    @Test("until the catch-up the starting positions are the only checkpoint")
    func start() {
        var checkpoints = Checkpoints(start: Positions(5, 6, 7, 8), atMs: 0, leadMs: 60_000)
        #expect(checkpoints.committable(oldestRead: 0, nowMs: 1_000_000) == Positions(5, 6, 7, 8))
    }

    @Test("the commit is the checkpoint taken at least the lead before the oldest challenge held was read")
    func lead() {
        var checkpoints = Checkpoints(start: Positions(), atMs: 0, leadMs: 60_000)
        for second in Int64(1)...200 {
            checkpoints.take(Positions(second, second, second, second), atMs: second * 1000)
        }
        // Checkpoint n was taken at second n: a challenge read after 100 needs what was read from second 40 on.
        #expect(checkpoints.committable(oldestRead: 100, nowMs: 200_000) == Positions(40, 40, 40, 40))
        #expect(checkpoints.committable(oldestRead: 50, nowMs: 200_000) == Positions(40, 40, 40, 40), "never back")
        #expect(checkpoints.committable(oldestRead: nil, nowMs: 200_000) == Positions(140, 140, 140, 140))
        #expect(checkpoints.count <= 61)
    }

    @Test("a fold knows its oldest challenge; a carried one is as if read anew")
    func oldest() throws {
        var story = FoldStory()
        story.lifeMs = 3_000_000
        story.fold.checkpoint = 3
        story.at(0, story.dispatch())
        story.fold.checkpoint = 9
        let other = FoldStory()
        _ = story.fold.apply(other.dispatch(), recordedMs: 0, at: FoldStory.time(1))
        #expect(story.fold.oldestReadCheckpoint == 3)
        story.fold.checkpoint = 700
        var carried: CarriedChallenge?
        for case .carry(let found, _) in story.decide(601_000) { carried = found }
        _ = story.fold.apply(
            Fact(
                challenge: story.sid,
                kind: .carried(try #require(carried), factors: story.factors.map { story.packed($0.rawValue) })),
            recordedMs: 0, at: FoldStory.time(601_000))
        #expect(story.fold.oldestReadCheckpoint == 9)
        _ = story.fold.due(at: FoldStory.time(361_000))
        #expect(story.fold.oldestReadCheckpoint == 700, "the other one was forgotten")
    }

    @Test("of a log that was made anew every position is its start, those to commit and those that were told")
    func startOver() {
        var checkpoints = Checkpoints(start: Positions(5, 6, 7, 8), atMs: 0, leadMs: 1000)
        for second in Int64(1)...9 { checkpoints.take(Positions(50, 60, 70, 80 + second), atMs: second * 1000) }
        checkpoints.startOver(0)
        #expect(checkpoints.committable(oldestRead: 0, nowMs: 9000) == Positions(0, 6, 7, 8))
        #expect(checkpoints.committable(oldestRead: nil, nowMs: 9000) == Positions(0, 60, 70, 88))
        var marks = AnnouncedMarks(start: Positions(5, 6, 7, 8))
        let write = marks.begin()
        marks.mark(Positions(50, 60, 70, 80))
        marks.startOver(2)
        #expect(marks.positions == Positions(5, 6, 0, 8))
        if let write { marks.complete(write) }
        #expect(marks.positions == Positions(50, 60, 0, 80))
    }

    @Test("news are told up to where everything is acknowledged, in whatever order")
    func marks() throws {
        var marks = AnnouncedMarks(start: Positions())
        func begin() throws -> Int64 {
            let number = marks.begin()
            return try #require(number)
        }
        let (a, b) = (try begin(), try begin())
        marks.mark(Positions(1, 1, 1, 1))
        let c = try begin()
        marks.mark(Positions(2, 2, 2, 2))
        #expect(marks.positions == Positions())
        marks.complete(c)
        marks.complete(b)
        #expect(marks.positions == Positions())
        marks.complete(a)
        #expect(marks.positions == Positions(2, 2, 2, 2))
        #expect(marks.outstanding == 0)
        marks.mark(Positions(3, 3, 3, 3))
        #expect(marks.positions == Positions(3, 3, 3, 3))
        #expect(AnnouncedMarks.offset(metadata: AnnouncedMarks.metadata(42)) == 42)
        #expect(AnnouncedMarks.offset(metadata: "") == nil && AnnouncedMarks.offset(metadata: "a=x") == nil)
    }

    @Test("silent marks stay in front of the first that was not told, whatever is read and acknowledged later")
    func silentMarks() throws {
        var marks = AnnouncedMarks(start: Positions())
        func begin() throws -> Int64 {
            let number = marks.begin()
            return try #require(number)
        }
        let told = try begin()
        marks.mark(Positions(1, 1, 1, 1))
        let (left, later) = (try begin(), try begin())
        marks.mark(Positions(2, 2, 2, 2))
        marks.silence()
        #expect(marks.begin() == nil)
        marks.mark(Positions(3, 3, 3, 3))
        marks.complete(told)
        marks.complete(later)
        #expect(marks.positions == Positions(1, 1, 1, 1))
        marks.complete(left)
        marks.mark(Positions(4, 4, 4, 4))
        #expect(marks.positions == Positions(2, 2, 2, 2), "what was read in silence was not told")
    }
}

@Suite("One partition")
struct TrackedPartitionTests {
    let time = FoldStory.time

    func live(_ story: FoldStory) -> TrackedPartition {
        let partition = TrackedPartition(
            number: 0, policy: .test, start: Positions(), newsFrom: Positions(), leadMs: 0, at: FoldStory.time(0))
        partition.begin(at: FoldStory.time(0))
        for topic in 0..<4 { _ = partition.absorb(topic, [.end(0)], at: FoldStory.time(0)) }
        return partition
    }

    @Test("nothing fires before the ends asked for after it came due were read; a receipt among them stops it")
    func barrier() {
        let story = FoldStory()
        for hasReceipt in [false, true] {
            let partition = live(story)
            _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0)], at: FoldStory.time(0))
            _ = partition.absorb(
                1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)], at: FoldStory.time(10))
            #expect(!partition.collect(at: FoldStory.time(5_000), latencies: nil))
            #expect(partition.collect(at: FoldStory.time(10_000), latencies: nil))
            #expect(partition.fire(at: FoldStory.time(10_000)).isEmpty, "no barrier")
            #expect(partition.raiseBarrier())
            #expect(partition.fire(at: FoldStory.time(10_000)).isEmpty, "the ends are not known")
            partition.setEnds(Positions(0, 1, 1, 0))
            #expect(partition.fire(at: FoldStory.time(10_010)).isEmpty, "the receipts were not read")
            let other = FoldStory()
            let fact = hasReceipt ? story.receipt() : other.receipt()
            _ = partition.absorb(2, [.fact(fact, offset: 0, timestampMs: 0)], at: FoldStory.time(10_020))
            #expect(partition.fire(at: FoldStory.time(10_030)).count == (hasReceipt ? 0 : 1))
        }
    }

    @Test("a barrier waits for each of the three other topics", arguments: Positions.facts)
    func barrierTopics(topic: Int) {
        let (story, other) = (FoldStory(), FoldStory())
        let partition = live(story)
        _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0)], at: FoldStory.time(0))
        _ = partition.absorb(1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)], at: FoldStory.time(10))
        #expect(partition.collect(at: FoldStory.time(10_000), latencies: nil))
        #expect(partition.raiseBarrier())
        let last = partition.positions[topic]
        var ends = partition.positions
        ends[topic] = last + 1
        partition.setEnds(ends)
        #expect(partition.fire(at: FoldStory.time(10_010)).isEmpty, "one record of it was not read")
        let facts = [1: other.outcome(.accepted), 2: other.receipt(), 3: other.resolution()]
        if let fact = facts[topic] {
            _ = partition.absorb(topic, [.fact(fact, offset: last, timestampMs: 0)], at: FoldStory.time(10_020))
        }
        #expect(partition.fire(at: FoldStory.time(10_030)).count == 1)
    }

    @Test("after a standstill what waits at a barrier is asked for again: the ends of before count no more")
    func lifted() {
        let story = FoldStory()
        let partition = live(story)
        _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0)], at: FoldStory.time(0))
        _ = partition.absorb(1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)], at: FoldStory.time(10))
        #expect(partition.collect(at: FoldStory.time(10_000), latencies: nil))
        #expect(partition.raiseBarrier())
        partition.setEnds(partition.positions)
        partition.liftBarrier()
        #expect(partition.fire(at: FoldStory.time(60_000)).isEmpty)
        #expect(partition.collect(at: FoldStory.time(60_000), latencies: nil))
        #expect(partition.raiseBarrier())
        // A receipt that came meanwhile is below the new ends.
        partition.setEnds(Positions(1, 1, 1, 0))
        #expect(partition.fire(at: FoldStory.time(60_010)).isEmpty)
        _ = partition.absorb(2, [.fact(story.receipt(), offset: 0, timestampMs: 0)], at: FoldStory.time(60_020))
        #expect(partition.fire(at: FoldStory.time(60_030)).isEmpty)
        #expect(!partition.collect(at: FoldStory.time(60_040), latencies: nil))
    }

    @Test("while its record is being written a challenge is left alone, until the record was read back")
    func guarded() throws {
        let story = FoldStory()
        let partition = live(story)
        _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0)], at: FoldStory.time(0))
        _ = partition.absorb(1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)], at: FoldStory.time(10))
        func fire(_ ms: Int64) -> [TrackedPartition.Firing] {
            guard partition.collect(at: FoldStory.time(ms), latencies: nil), partition.raiseBarrier() else { return [] }
            partition.setEnds(Positions(0, 1, 0, 0))
            return partition.fire(at: FoldStory.time(ms))
        }
        #expect(fire(10_000).count == 1)
        // Another fact makes the timer look again: it is still due, and already being written.
        let again = story.outcome(.accepted, kind: .background)
        _ = partition.absorb(1, [.fact(again, offset: 1, timestampMs: 0)], at: FoldStory.time(10_100))
        #expect(fire(10_200).isEmpty)
        partition.failed(story.sid, at: FoldStory.time(10_300))
        #expect(fire(10_400).isEmpty, "after a failure a while passes")
        #expect(fire(11_000).count == 1)
        partition.acknowledged(story.sid, topic: 0, offset: 1, at: FoldStory.time(11_010))
        #expect(fire(11_100).isEmpty)
        _ = partition.absorb(0, [.fact(story.dispatch("t1"), offset: 1, timestampMs: 0)], at: FoldStory.time(11_200))
        #expect(fire(12_000).isEmpty, "t1 is on its way")
        _ = partition.absorb(
            1, [.fact(story.outcome(.accepted, "t1"), offset: 2, timestampMs: 0)], at: FoldStory.time(12_000))
        #expect(fire(30_000).count == 1)
    }

    @Test("nothing is done before the four topics were read to their ends, nor after a hand-over")
    func phases() {
        let story = FoldStory()
        let partition = TrackedPartition(
            number: 0, policy: .test, start: Positions(), newsFrom: Positions(), leadMs: 0, at: FoldStory.time(0))
        partition.begin(at: FoldStory.time(0))
        _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0), .end(1)], at: FoldStory.time(0))
        #expect(partition.hasReadChallenges && !partition.isLive)
        _ = partition.absorb(
            1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0), .end(1)], at: FoldStory.time(0))
        _ = partition.absorb(2, [.end(0)], at: FoldStory.time(0))
        #expect(!partition.collect(at: FoldStory.time(20_000), latencies: nil))
        #expect(partition.checkpoint(at: FoldStory.time(20_000)) == nil)
        #expect(partition.absorb(3, [.end(0)], at: FoldStory.time(20_000)).hasCaughtUp)
        #expect(partition.collect(at: FoldStory.time(21_000), latencies: nil))
        #expect(partition.raiseBarrier())
        partition.setEnds(Positions())
        partition.suspend()
        #expect(partition.fire(at: FoldStory.time(21_000)).isEmpty)
        #expect(partition.positions == Positions(1, 1, 0, 0), "the state is kept")
        #expect(partition.checkpoint(at: FoldStory.time(21_001)) != nil, "there is something to commit on the way out")
        partition.begin(at: FoldStory.time(22_000))
        for topic in 0..<4 {
            _ = partition.absorb(topic, [.end(partition.positions[topic])], at: FoldStory.time(22_000))
        }
        #expect(partition.collect(at: FoldStory.time(22_100), latencies: nil))
    }

    @Test("records read again change nothing, old news are not told again")
    func twice() {
        let story = FoldStory()
        let partition = TrackedPartition(
            number: 0, policy: .test, start: Positions(), newsFrom: Positions(0, 1, 0, 0), leadMs: 0,
            at: FoldStory.time(0))
        partition.begin(at: FoldStory.time(0))
        let outcome = TrackedPartition.Item.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)
        #expect(partition.absorb(1, [outcome], at: FoldStory.time(0)).news.isEmpty)
        #expect(partition.absorb(1, [outcome], at: FoldStory.time(0)).news.isEmpty)
        let failed = story.outcome(.tokenDead, "t1")
        let news = partition.absorb(1, [.fact(failed, offset: 1, timestampMs: 0)], at: FoldStory.time(0)).news
        #expect(news.count == 1 && partition.outstanding == 1)
    }
}
