import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders
import Testing

@testable import DispatcherWorker
@testable import KafkaGroup

@Suite("What a commit says, and what a lane remembers")
struct LanePositionsTests {
    @Test("the metadata reads its own text and stays far below Kafka's 4,096 bytes")
    func metadata() throws {
        let spans = (0..<8).map {
            FactPositions.Span(
                start: Int64($0) + 999_999_999_000, receipts: 999_999_999_999, resolutions: 999_999_999_999,
                expiresAtMs: 1_900_000_000_000)
        }
        let metadata = CommitMetadata(outcomes: 999_999_999_999, spans: spans)
        #expect(CommitMetadata(metadata.text) == metadata)
        #expect(metadata.text.utf8.count < 600)
    }

    @Test(
        "what is not ours is nil, and everything is read from the beginning",
        arguments: [
            "", "o=1", "2 o=1 f=0.0.0.0", "1 o=x f=0.0.0.0", "1 o=1", "1 o=1 f=", "1 o=1 f=1.2.3", "1 o=-1 f=0.0.0.0",
            "1 o=1 f=5.0.0.0,4.0.0.0", "1 o=1 f=0.0.0.99999999999999999",
            "1 o=9223372036854775807 f=0.0.0.0", "1 o=1 f=9223372036854775807.0.0.0",
            "1 o=1 f=0.9223372036854775807.0.0",
            "1 o=1 f=0.0.0.253402300801", "1 o=1 f=-1.0.0.0", "1 o=72057594037927937 f=0.0.0.0",
        ])
    func foreign(text: String) {
        #expect(CommitMetadata(text) == nil)
        let start = LaneStart(committed: CommittedOffset(offset: 7, metadata: text), nowMs: 0)
        #expect(start.challenges == 7)
        #expect(start.outcomes == 0)
        #expect(start.spans.allSatisfy { $0.receipts == 0 && $0.resolutions == 0 && $0.expiresAtMs > 3_600_000 })
    }

    @Test("positions wait for the last challenge that needs them, and for the last record that is not committed")
    func positions() {
        var positions = FactPositions(spans: [])
        positions.note(offset: 0, expiresAtMs: 100_000)
        // Once a minute has passed, spans begin at positions that are a minute old.
        for step in 0...8 {
            positions.checkpoint(
                steadyMs: Int64(step) * 10_000, challengesEnd: Int64(step) * 10, receipts: Int64(step) * 100,
                resolutions: Int64(step))
        }
        #expect(positions.spans.map(\.start) == [0, 60, 70, 80])
        #expect(positions.spans.map(\.receipts) == [0, 0, 100, 200])
        positions.prune(committed: 80, nowMs: 99_999)
        #expect(positions.receipts == 0, "the first challenge is still live")
        positions.prune(committed: 69, nowMs: 100_000)
        #expect(positions.spans[0].start == 60, "offset 69 is not committed")
        positions.note(offset: 75, expiresAtMs: 200_000)
        positions.prune(committed: 1000, nowMs: 100_000)
        #expect(positions.receipts == 100)
        #expect(positions.spans[0].start == 70)
        positions.prune(committed: 1000, nowMs: 200_000)
        #expect(positions.receipts == 200)
    }

    @Test("an idle partition's positions follow the topics")
    func idle() {
        var positions = FactPositions(spans: [])
        for step in 0...30 {
            positions.checkpoint(
                steadyMs: Int64(step) * 10_000, challengesEnd: 0, receipts: Int64(step) * 100, resolutions: 0)
        }
        #expect(positions.spans.count == 1)
        #expect(positions.receipts == 2400)
    }

    @Test("merged spans ask for no less")
    func merged() {
        var positions = FactPositions(spans: [])
        for step in 0...100 {
            positions.checkpoint(
                steadyMs: Int64(step) * 10_000, challengesEnd: Int64(step), receipts: Int64(step), resolutions: 0)
            positions.note(offset: Int64(step), expiresAtMs: Int64(step) * 1000)
        }
        let merged = positions.merged(to: 8)
        #expect(merged.count <= 8)
        for span in positions.spans {
            let holder = merged.last { $0.start <= span.start }!
            #expect(holder.receipts <= span.receipts)
            #expect(holder.expiresAtMs >= span.expiresAtMs)
        }
    }

    @Test("no outcome of an uncommitted record is in front of the floor")
    func floors() {
        var floors = OutcomeFloors(inherited: 40)
        floors.reach(120)
        // Records below 12 may have been served by who was there before: their outcomes are behind 40, not 120.
        floors.take(10)
        #expect(floors.floor(committed: 10, next: 11) == 40)
        floors.inherit(below: 12)
        floors.take(11)
        #expect(floors.floor(committed: 12, next: 12) == 120)
        floors.take(12)
        floors.reach(130)
        floors.take(13)
        #expect(floors.floor(committed: 12, next: 14) == 120)
        #expect(floors.floor(committed: 13, next: 14) == 130)
        floors.reach(150)
        #expect(floors.floor(committed: 14, next: 14) == 150)
    }

    @Test("before the end of challenges is known, the floor is the inherited one")
    func inherited() {
        var floors = OutcomeFloors(inherited: 40)
        floors.reach(99)
        #expect(floors.floor(committed: 10, next: 10) == 40)
        floors.inherit(below: 20)
        #expect(floors.floor(committed: 10, next: 10) == 40, "records up to 20 may have outcomes since 40")
    }

    @Test("fingerprints are found until their time, forgotten after it, and bounded")
    func fingerprints() {
        var set = FingerprintSet(spanMs: 1000, maxBytes: 64 * 1024)
        for value in UInt64(1)...1000 { set.insert(value &* 0x9e37_79b9_7f4a_7c15, untilMs: Int64(value % 3) * 1000) }
        #expect((UInt64(1)...1000).allSatisfy { set.contains($0 &* 0x9e37_79b9_7f4a_7c15) })
        #expect(!set.contains(5))
        set.expire(nowMs: 1000)
        #expect(!set.contains(3 &* 0x9e37_79b9_7f4a_7c15))
        #expect(set.contains(1 &* 0x9e37_79b9_7f4a_7c15))
        #expect(set.takeEvicted() == 0)
        for value in UInt64(1)...20_000 { set.insert(value &* 0x2545_f491_4f6c_dd1d, untilMs: 5000) }
        #expect(set.bytes <= 64 * 1024)
        #expect(set.takeEvicted() > 0)
        #expect(set.takeEvicted() == 0)
        set.insert(0, untilMs: 5000)
        #expect(set.contains(0))
    }

    @Test("a background budget is counted per device and challenge, from our own pushes and from outcomes")
    func budget() {
        var facts = LaneFacts(doneBytes: 4096, factBytes: 65_536)
        let device = Fingerprint.device(challenge: Samples.challenge(1), factor: Samples.factor())
        facts.useBackground(device: device, expiresAtMs: 10_000, nowMs: 0)
        facts.apply(Samples.outcome(1, kind: .background, .accepted, expiresAtMs: 10_000), nowMs: 0)
        facts.apply(Samples.outcome(1, kind: .background, .deferred, expiresAtMs: 10_000), nowMs: 0)
        facts.apply(Samples.outcome(2, kind: .background, .accepted, expiresAtMs: 10_000), nowMs: 0)
        #expect(facts.backgroundUsed(device: device) == 2)
    }

    @Test("the watchdog tells what stands still")
    func watchdog() {
        let watchdog = Watchdog(boundMs: 30_000)
        func sight(
            control: Int64 = 0, poll: Int64 = 0, turn: Int64 = 0, sent: Int64? = nil
        ) -> Watchdog.Sight {
            .init(
                controlMs: control, pollMs: poll, lanes: [.init(partition: 3, turnMs: turn, oldestSentMs: sent)])
        }
        #expect(watchdog.verdict(sight(control: 30_000, poll: 30_000, turn: 30_000, sent: 30_000)) == nil)
        #expect(watchdog.verdict(sight(control: 30_001))?.contains("control") == true)
        #expect(watchdog.verdict(sight(poll: 30_001))?.contains("polled") == true)
        #expect(watchdog.verdict(sight(turn: 30_001))?.contains("partition 3") == true)
        #expect(watchdog.verdict(sight(sent: 30_001))?.contains("partition 3") == true)
    }

    @Test("a push of an assignment leaves only while the fence is open, and not after the assignment's end")
    func permit() {
        let fence = CommitFence(freshFor: .seconds(3600)) { Moment.now().steadyMs }
        let permit = CommitPermit(fence: fence)
        #expect(!permit.isValid)
        let now = Moment.now().steadyMs
        fence.acknowledge(sentAtMs: now, term: fence.term, nowMs: now)
        #expect(permit.isValid)
        fence.shut()
        fence.acknowledge(sentAtMs: now, term: fence.term, nowMs: now)
        #expect(!permit.isValid && CommitPermit(fence: fence).isValid)
        fence.refuse(KafkaError(code: "UNKNOWN_MEMBER_ID", reason: ""), term: fence.term)
        #expect(!CommitPermit(fence: fence).isValid)
    }
}
