import ChallengeModel
import KafkaClient
import TestSupport
import Testing

@testable import AckTracker
@testable import DispatcherWorker

/// The metadata of commits: whoever may commit for a group may write anything there.
@Suite("Random commits", .timeLimit(.minutes(30)))
struct CommitFuzz {
    @Test("a lane begins from any of them, and what it commits can be read back")
    func commits() async throws {
        var ours = 0
        await FuzzRun.run("commits", rounds: 5000) { generator, seed in
            let nowMs: Int64 = 1_760_000_000_000
            var text = CommitMetadata(
                outcomes: Int64.random(in: 0...1000, using: &generator),
                spans: (0..<Int.random(in: 1...9, using: &generator)).map { index in
                    FactPositions.Span(
                        start: Int64(index) * 10, receipts: Int64(index), resolutions: Int64(index),
                        expiresAtMs: nowMs + 60_000)
                }
            ).text
            if generator.chance(2) { text = generator.withOddNumbers(text, nowMs: nowMs, oneIn: 4) }
            if generator.chance(4) { text = String(decoding: generator.broken(Array(text.utf8)), as: UTF8.self) }
            if generator.chance(20) {
                text = generator.pick(["", "1", "1 o= f=", "1 o=0 f=0.0.0.0", "2 o=0", "1 f=,,, o=1", "a=5", "a=-1"])
            }
            if let read = CommitMetadata(text) {
                ours += 1
                #expect(CommitMetadata(read.text) != nil, "seed \(seed): \(text) is written as \(read.text)")
            }
            _ = AnnouncedMarks.offset(metadata: "a=" + text.drop { !$0.isNumber }.prefix { $0.isNumber })
            let offset = generator.chance(3) ? max(0, generator.number()) : Int64.random(in: 0...100, using: &generator)
            Self.serve(CommittedOffset(offset: offset, metadata: text), nowMs: nowMs, &generator, seed)
        }
        #expect(ours > 500)
    }

    /// What a lane does after an assignment, without its Kafka.
    private static func serve(
        _ committed: CommittedOffset, nowMs: Int64, _ generator: inout SeededGenerator, _ seed: UInt64
    ) {
        var state = LaneState(
            partition: 0, start: LaneStart(committed: committed, nowMs: nowMs),
            builder: PushBuilder(recordKeys: RecordSource.keys), quickRetry: QuickRetry(withinMs: 1000, leftMs: 2000),
            facts: LaneFacts(doneBytes: 4096, factBytes: 4096))
        var now = Moment(epochMs: nowMs, steadyMs: 0)
        let end = Int64.random(in: 0...200, using: &generator)
        _ = state.startOver(ifCutAt: end)
        state.inherit(below: end)
        for offset in end..<end + 4 {
            let key = Array("x".utf8)
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: "beckon.challenges", partition: 0), offset: offset,
                timestampMs: nowMs, key: key, value: key, headers: [])
            for case .write(let id, _) in state.take(record, .bad(reason: "field", detail: ""), now: now) {
                let place = TopicPartition(topic: "beckon.dead-letters", partition: 0)
                state.acknowledged(id, at: RecordPosition(topicPartition: place, offset: offset), nowMs: nowMs)
            }
            state.reach(outcomes: offset)
            state.reach(receipts: offset)
            state.reach(resolutions: offset)
            now = Moment(epochMs: now.epochMs + 61_000, steadyMs: now.steadyMs + 61_000)
            state.checkpoint(
                challengesEnd: offset + 1, receipts: state.receipts, resolutions: state.resolutions, now: now)
            state.tidy(nowMs: now.epochMs)
        }
        let next = state.commit()
        #expect(CommitMetadata(next.metadata) != nil, "seed \(seed): \(committed) leads to \(next.metadata)")
        state.reset()
        state.resume(committed: committed.offset)
    }
}
