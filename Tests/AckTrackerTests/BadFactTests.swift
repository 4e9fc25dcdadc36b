import ChallengeModel
import KafkaClient
import KafkaGroup
import ServiceSupport
import Testing

@testable import AckTracker

@Suite("Bad facts change nothing but a counter and a dead letter")
struct BadFactTests {
    static let signer = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
    static let recordedMs = FoldStory.epochMs + 1_000
    static let later = recordedMs + 3_600_000

    /// The value that a writer of ours would write, spoilt.
    struct Spoilt: Sendable, CustomStringConvertible {
        let description: String
        let topic: Topic
        let reason: String
        let value: @Sendable (FoldStory) -> [UInt8]

        static func dispatch(
            _ description: String, _ edit: @escaping @Sendable (inout ChallengeDispatch) -> Void
        ) -> Spoilt {
            Spoilt(description: description, topic: .challenges, reason: "range") { story in
                var record = ChallengeRecord()
                guard case .dispatch(let dispatch, _, _) = story.dispatch("t1", edit: edit).kind else { return [] }
                record.dispatch = dispatch
                return record.protobufBytes()
            }
        }

        static func outcome(
            _ description: String, reason: String = "range", _ edit: @escaping @Sendable (inout PushOutcome) -> Void
        ) -> Spoilt {
            Spoilt(description: description, topic: .outcomes, reason: reason) { story in
                var record = OutcomeRecord()
                guard case .outcome(var outcome, _, _) = story.outcome(.accepted).kind else { return [] }
                edit(&outcome)
                record.push = outcome
                return record.protobufBytes()
            }
        }

        static func receipt(
            _ description: String, reason: String = "range", _ edit: @escaping @Sendable (inout Receipt) -> Void
        ) -> Spoilt {
            Spoilt(description: description, topic: .receipts, reason: reason) { story in
                guard case .receipt(var receipt, _) = story.receipt().kind else { return [] }
                edit(&receipt)
                return receipt.protobufBytes()
            }
        }
    }

    static let cases: [Spoilt] = [
        .receipt("a receipt of the day after") { $0.receivedAtMs = later },
        .receipt("a receipt before 1970") { $0.receivedAtMs = -5 },
        .receipt("a receipt at the end of time") { $0.receivedAtMs = .max },
        .receipt("a receipt at the beginning of time") { $0.receivedAtMs = .min },
        .outcome("a token that died at the end of time") { ($0.disposition, $0.tokenDiedAtMs) = (.tokenDead, .max) },
        .outcome("an outcome whose challenge never expires") { $0.expiresAtMs = .max },
        .receipt("a receipt of no factor", reason: "field") { $0.factorSid = "YF12" },
        .receipt("a receipt of another challenge than its key", reason: "field") {
            $0.challengeSid = ChallengeSID.generate(variant: 3, nowMs: 1).rawValue
        },
        .outcome("an outcome of the day after") { $0.atMs = later },
        .outcome("a push sent after its outcome") { ($0.sentAtMs, $0.atMs) = (recordedMs, recordedMs - 400_000) },
        .outcome("retry at the end of time") { ($0.disposition, $0.retryAtMs) = (.deferred, .max) },
        .outcome("retry before 1970") { ($0.disposition, $0.retryAtMs) = (.deferred, .min) },
        .outcome("an outcome of attempt 56") { $0.dispatchID = "t56" },
        .outcome("an outcome of attempt 0", reason: "field") { $0.dispatchID = "t0" },
        .outcome("an outcome of attempt 65536", reason: "field") { $0.dispatchID = "t65536" },
        .outcome("a registration at the end of time") { $0.registeredAtMs = .max },
        .dispatch("a dispatch that was made tomorrow") { $0.createdAtMs = later },
        .dispatch("a dispatch that expires in the year 9999") { $0.expiresAtMs = 253_370_764_800_000 },
        .dispatch("attempt 900") { $0.dispatchID = "t900" },
    ]

    private func partition(_ story: FoldStory) -> TrackedPartition {
        let partition = TrackedPartition(
            number: 0, policy: .test, start: Positions(), newsFrom: Positions(), leadMs: 1_000, at: FoldStory.time(0))
        partition.begin(at: FoldStory.time(0))
        for topic in Positions.indices { _ = partition.absorb(topic, [.end(0)], at: FoldStory.time(0)) }
        _ = partition.absorb(0, [.fact(story.dispatch(), offset: 0, timestampMs: 0)], at: FoldStory.time(0))
        _ = partition.absorb(1, [.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)], at: FoldStory.time(10))
        return partition
    }

    @Test("implausible and malformed ones", arguments: cases)
    func spoilt(_ bad: Spoilt) throws {
        let story = FoldStory()
        let reader = RecordReader(intake: RecordIntake(signer: Self.signer, partitions: 1))
        let made = Self.signer.record(bad.topic, key: story.challenge.rawValue, value: bad.value(story))
        let record = ConsumedRecord(
            topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: 7, timestampMs: Self.recordedMs,
            key: made.key, value: made.value, headers: made.headers)
        let topic = try #require(Topic.copartitioned.firstIndex(of: bad.topic))
        let (item, refusal) = reader.read(record, topic: topic)
        #expect(refusal == (bad.reason == "range" ? .implausible : .poison))
        guard case .refused(let letter?, offset: 7) = item else {
            Issue.record("not refused")
            return
        }
        #expect(letter.headers.text(of: RecordHeaderName.deadLetterReason) == bad.reason)
        #expect(letter.value == made.value)
        let partition = partition(story)
        let before = try #require(partition.view(story.sid, at: FoldStory.time(20)))
        let consequences = partition.absorb(topic, [item], at: FoldStory.time(20))
        #expect(consequences.records.count == 1 && consequences.news.isEmpty)
        #expect(partition.view(story.sid, at: FoldStory.time(20)) == before)
    }

    @Test("the same records unspoilt are taken")
    func unspoilt() {
        let story = FoldStory()
        let reader = RecordReader(intake: RecordIntake(signer: Self.signer, partitions: 1))
        let whole: [Spoilt] = [
            .receipt("") { _ in }, .outcome("") { _ in }, .dispatch("") { _ in },
            .outcome("") { $0.atMs = Self.recordedMs + 200_000 },
        ]
        for good in whole {
            let made = Self.signer.record(good.topic, key: story.challenge.rawValue, value: good.value(story))
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: 7,
                timestampMs: Self.recordedMs, key: made.key, value: made.value, headers: made.headers)
            let topic = Topic.copartitioned.firstIndex(of: good.topic) ?? 0
            #expect(reader.read(record, topic: topic).1 == nil, "\(good.topic)")
        }
    }

    /// The dispatcher, which reads `challenges` as well, writes these dead letters.
    @Test(
        "numbers out of the documented ranges are refused, carried or not",
        arguments: [
            { $0.expiresAtMs = .max }, { $0.expiresAtMs = .min }, { $0.pushExpiresAtMs = .max - 5_000 },
            { $0.createdAtMs = -1 }, { $0.targets[0].registeredAtMs = .max },
            { $0.targets[0].backgroundBudget = .max }, { $0.redelivery.expectedLatencyMs = .max },
            { $0.redelivery.maxAttempts = 1_000 },
        ] as [@Sendable (inout ChallengeDispatch) -> Void])
    func outOfRange(_ edit: @Sendable (inout ChallengeDispatch) -> Void) throws {
        let story = FoldStory()
        guard case .dispatch(var dispatch, _, _) = story.dispatch().kind else { return }
        edit(&dispatch)
        var records = [ChallengeRecord(), ChallengeRecord()]
        records[0].dispatch = dispatch
        records[1].carried.dispatch = dispatch
        for value in records {
            let made = Self.signer.record(.challenges, key: story.challenge.rawValue, value: value.protobufBytes())
            for timestampMs in [Self.recordedMs, .max, .min] {
                let record = ConsumedRecord(
                    topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: 7,
                    timestampMs: timestampMs, key: made.key, value: made.value, headers: made.headers)
                let (item, refusal) = RecordReader(intake: RecordIntake(signer: Self.signer, partitions: 1)).read(
                    record, topic: 0)
                #expect(refusal == .implausible)
                guard case .refused(nil, offset: 7) = item else {
                    Issue.record("expected no dead letter of ours")
                    return
                }
            }
        }
    }

    @Test("a record stamped with a time that cannot be is read without it", arguments: [Int64.max, .min, -2])
    func stamped(timestampMs: Int64) {
        let story = FoldStory()
        let reader = RecordReader(intake: RecordIntake(signer: Self.signer, partitions: 1))
        for good in [Spoilt.receipt("") { _ in }, .outcome("") { _ in }, .dispatch("") { _ in }] {
            let made = Self.signer.record(good.topic, key: story.challenge.rawValue, value: good.value(story))
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: 7, timestampMs: timestampMs,
                key: made.key, value: made.value, headers: made.headers)
            #expect(record.timestampMs == -1)
            #expect(reader.read(record, topic: Topic.copartitioned.firstIndex(of: good.topic) ?? 0).1 == nil)
        }
    }

    @Test("a record that is not ours is forged, on each of the topics", arguments: Topic.copartitioned)
    func forged(topic: Topic) throws {
        let story = FoldStory()
        let value: [UInt8]
        switch topic {
        case .challenges: value = Spoilt.dispatch("") { _ in }.value(story)
        case .outcomes: value = Spoilt.outcome("") { _ in }.value(story)
        case .receipts: value = Spoilt.receipt("") { _ in }.value(story)
        default:
            guard case .resolution(let resolution) = story.resolution().kind else {
                Issue.record("expected a resolution")
                return
            }
            value = resolution.protobufBytes()
        }
        let index = try #require(Topic.copartitioned.firstIndex(of: topic))
        let forger = RecordSigner(names: TopicNames(), authenticator: RecordAuthenticator(keys: .random()))
        for (signer, expected) in [(Self.signer, nil), (forger, RecordReader.Refusal.forged)] {
            let made = signer.record(topic, key: story.challenge.rawValue, value: value)
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: made.topic, partition: 0), offset: 7,
                timestampMs: Self.recordedMs, key: made.key, value: made.value, headers: made.headers)
            let reader = RecordReader(intake: RecordIntake(signer: Self.signer, partitions: 1))
            #expect(reader.read(record, topic: index).1 == expected)
        }
    }

    @Test("a receipt that names another service silences nothing and becomes a dead letter")
    func foreign() throws {
        let story = FoldStory()
        let partition = partition(story)
        let other = ServiceSID.generate(nowMs: 5)
        let before = try #require(partition.view(story.sid, at: FoldStory.time(20)))
        let consequences = partition.absorb(
            2, [.fact(story.receipt(service: other), offset: 0, timestampMs: 0)], at: FoldStory.time(20))
        #expect(consequences.foreign.count == 1 && consequences.news.isEmpty)
        #expect(partition.view(story.sid, at: FoldStory.time(20)) == before)
        _ = partition.absorb(2, [.fact(story.receipt(), offset: 1, timestampMs: 0)], at: FoldStory.time(20))
        #expect(partition.view(story.sid, at: FoldStory.time(20))?.devices.first?.state == "confirmed")
    }

    @Test("a receipt of another service that comes before the challenge silences nothing either")
    func foreignAndEarly() throws {
        var story = FoldStory()
        _ = story.fold.apply(
            story.receipt(service: ServiceSID.generate(nowMs: 5)), recordedMs: 0, at: FoldStory.time(0))
        story.at(10, story.dispatch(), story.outcome(.accepted))
        #expect(try #require(story.pushAt) >= 8_000)
    }

    @Test("a receipt of a device that no dispatch names neither ends the escalation nor counts for Confirm=any")
    func notAddressed() throws {
        var story = FoldStory(devices: 2)
        story.redelivery.confirm = .any
        story.at(0, story.dispatch(devices: [0]), story.outcome(.accepted))
        let due = try #require(story.pushAt)
        let escalateAt = story.plan.escalateAt
        story.at(10, story.receipt(device: 1))
        #expect(story.pushAt == due)
        #expect(story.plan.escalateAt == escalateAt && escalateAt != nil)
    }

    @Test("latencies below nothing and beyond reason teach nothing")
    func latencies() {
        var model = LatencyModel(policy: .test)
        let key = LatencyModel.Key(platform: 2, app: "com.example")
        for _ in 0..<100 { model.record(key, latencyMs: -1_000) }
        #expect(model.expected.isEmpty || model.expectedLatencyMs(key) == nil)
        for _ in 0..<100 { model.record(key, latencyMs: .max) }
        #expect(model.expectedLatencyMs(key).map { $0 <= 60_000 } ?? true)
    }
}
