import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import KafkaGroup
import NIOCore
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import AckTracker
@testable import Challenges
@testable import DispatcherWorker
@testable import Producer
@testable import PushGateway
@testable import PushProviders
@testable import Storage

/// Records with every number out of its range, signed with the right keys, read by every role: none of them may die,
/// and what a role goes on with is inside the documented ranges.
@Suite("Random records", .timeLimit(.minutes(30)))
struct RecordFuzz {
    @Test("tracker, dispatcher and Producer read them all")
    func records() async throws {
        var counts: [String: Int] = [:]
        await FuzzRun.run("records", rounds: 150) { generator, seed in
            var source = RecordSource(&generator)
            var tracker = TrackerReader(nowMs: source.nowMs)
            var dispatcher = DispatcherReader(nowMs: source.nowMs)
            var producer = ProducerReader(source)
            for _ in 0..<40 {
                let topic = generator.pick([
                    Topic.challenges, .challenges, .outcomes, .receipts, .resolutions, .requests, .receiptRequests,
                ])
                let record = source.next(topic, &generator)
                if Topic.copartitioned.contains(topic) {
                    let isTaken = tracker.read(record, topic, &generator)
                    counts["tracker \(isTaken ? "took" : "refused")", default: 0] += 1
                }
                dispatcher.read(record, topic, &generator)
                let fact = producer.read(record, topic, nowMs: source.nowMs)
                counts["producer \(fact ? "took" : "refused")", default: 0] += 1
                let stepMs: Int64 = generator.pick([0, 0, 10, 1000, 60_000, 900_000])
                source.nowMs += stepMs
                tracker.pass(stepMs, ends: Topic.copartitioned.map { source.end($0) }, &generator)
                dispatcher.pass(stepMs, &generator)
            }
            #expect(dispatcher.isCommitReadable, "seed \(seed): a commit's metadata cannot be read back")
        }
        // Random input that is all refused, or all taken, tests nothing.
        for key in ["tracker took", "tracker refused", "producer took", "producer refused"] {
            #expect(counts[key, default: 0] > 100, "\(key): \(counts)")
        }
    }

    @Test("sealed credentials with anything in them are opened or refused")
    func credentials() async throws {
        var opened = 0
        try await FuzzRun.run("credentials", rounds: 400) { generator, _ in
            var credential = ProviderCredential()
            credential.accountSid = RecordSource.account.rawValue
            credential.credentialSid = "CR" + String(repeating: "01", count: 16)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: credential.apnsToken.privateKeyPem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
            case 1: credential.fcm.projectID = "project"
            case 2: credential.hms.appID = "123"
            default:
                credential.apnsCertificate.certificatePem =
                    "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
            }
            var sealed = SealedConfiguration()
            sealed.accountSid = credential.accountSid
            sealed.sid = credential.credentialSid
            sealed.kind = SealedConfiguration.credentialKind
            let bytes = generator.spoiled(credential.protobufBytes(), nowMs: 0)
            (sealed.keyID, sealed.sealed) = try RecordSource.keys.seal(
                bytes, context: [sealed.accountSid, sealed.sid, sealed.kind])
            let value =
                generator.chance(2) ? sealed.protobufBytes() : generator.spoiled(sealed.protobufBytes(), nowMs: 0)
            guard let read = try? SealedConfiguration(value: value, contentType: nil),
                let found = try? read.openCredential(keys: RecordSource.keys)
            else { return }
            opened += 1
            if case .clientCertificate(let certificate, let key)? = (try? PushProviders.open(found))?.proof {
                _ = try? Connector(caFile: nil).identified(certificatePEM: certificate, keyPEM: key)
            }
        }
        #expect(opened > 20)
    }
}

/// The tracker: reader, fold, decisions, events.
private struct TrackerReader {
    private let reader = RecordReader(intake: RecordIntake(signer: RecordSource.signer, partitions: 1))
    private let partition: TrackedPartition
    private var time: FoldTime

    init(nowMs: Int64) {
        time = FoldTime(localMs: nowMs, wallMs: nowMs)
        var policy = TrackerPolicy()
        policy.restartSpreadMs = 0
        partition = TrackedPartition(
            number: 0, policy: policy, start: Positions(), newsFrom: Positions(), leadMs: 60_000, at: time)
        partition.begin(at: time)
    }

    mutating func read(_ record: ConsumedRecord, _ topic: Topic, _ generator: inout SeededGenerator) -> Bool {
        guard let index = Topic.copartitioned.firstIndex(of: topic) else { return false }
        let (item, refusal) = reader.read(record, topic: index)
        let consequences = partition.absorb(index, [item], at: time)
        for (number, news) in consequences.news {
            _ = DerivedEvent.event(news, nowMs: time.wallMs, sequence: 1, partition: 0)?.jsonBytes()
            if let number { partition.completed(number) }
        }
        if case .fact(let fact, _) = item { _ = partition.view(fact.challenge, at: time) }
        return refusal == nil
    }

    mutating func pass(_ ms: Int64, ends: [Int64], _ generator: inout SeededGenerator) {
        time = FoldTime(localMs: time.localMs + ms, wallMs: time.wallMs + ms)
        for topic in Positions.indices where generator.chance(4) {
            _ = partition.absorb(topic, [.end(ends[topic])], at: time)
        }
        if partition.collect(at: time, latencies: nil), partition.raiseBarrier() { partition.setEnds(Positions()) }
        for firing in partition.fire(at: time) {
            for _ in firing.actions { partition.failed(firing.sid, at: time) }
            for case .dispatch(let dispatch, _) in firing.actions {
                #expect(
                    Timestamp.range.contains(dispatch.createdAtMs) && Timestamp.range.contains(dispatch.expiresAtMs))
            }
        }
        _ = partition.checkpoint(at: time)
        _ = partition.gauges(at: time)
    }
}

/// The dispatcher: intake, lane, requests to providers.
private struct DispatcherReader {
    private let intake = ChallengeIntake(records: RecordIntake(signer: RecordSource.signer, partitions: 1))
    private var state: LaneState
    private var now: Moment

    init(nowMs: Int64) {
        now = Moment(epochMs: nowMs, steadyMs: 1_000_000)
        state = LaneState(
            partition: 0, start: LaneStart(committed: nil, nowMs: nowMs),
            builder: PushBuilder(recordKeys: RecordSource.keys), quickRetry: QuickRetry(withinMs: 1000, leftMs: 2000),
            facts: LaneFacts(doneBytes: 1 << 20, factBytes: 1 << 20))
        state.inherit(below: 0)
    }

    mutating func read(_ record: ConsumedRecord, _ topic: Topic, _ generator: inout SeededGenerator) {
        switch topic {
        case .challenges:
            let taken = intake.read(record)
            state.look(ahead: [(record.offset, taken)], nowMs: now.epochMs)
            perform(state.take(record, taken, now: now), &generator)
        case .outcomes:
            if let value = try? intake.records.open(record, as: OutcomeRecord.self),
                case .push(let outcome) = value.kind
            {
                state.read(outcome: outcome, nowMs: now.epochMs)
            }
            state.reach(outcomes: record.offset + 1)
        case .receipts:
            if let value = try? intake.records.open(record, as: Receipt.self) {
                state.read(receipt: value, nowMs: now.epochMs)
            }
            state.reach(receipts: record.offset + 1)
        case .resolutions:
            if let value = try? intake.records.open(record, as: Resolution.self) {
                state.read(resolution: value, nowMs: now.epochMs)
            }
            state.reach(resolutions: record.offset + 1)
        default: break
        }
    }

    mutating func pass(_ ms: Int64, _ generator: inout SeededGenerator) {
        now = Moment(epochMs: now.epochMs + ms, steadyMs: now.steadyMs + ms)
        state.checkpoint(
            challengesEnd: state.ledger.next, receipts: state.receipts, resolutions: state.resolutions, now: now)
        state.freshness.ask(atMs: now.steadyMs, receipts: state.receipts, resolutions: state.resolutions)
        state.freshness.reach(receipts: state.receipts, resolutions: state.resolutions)
        perform(state.due(now: now, mayPush: true), &generator)
        state.tidy(nowMs: now.epochMs)
    }

    var isCommitReadable: Bool {
        var state = state
        return CommitMetadata(state.commit().metadata) != nil
    }

    private mutating func perform(_ steps: [LaneStep], _ generator: inout SeededGenerator) {
        for step in steps {
            switch step {
            case .send(let id, let push):
                write(push)
                let answer = PushAnswer(
                    disposition: generator.pick([.accepted, .deferred, .unknown, .credentialFault, .tokenDead]),
                    reason: "connection", status: generator.pick([0, 200, 503]),
                    retryAtMs: now.epochMs + Int64.random(in: 0...3_600_000, using: &generator), sentAtMs: now.epochMs)
                perform(state.answered(id, answer, now: now), &generator)
            case .write(let id, let write):
                if case .outcome(var outcome, _) = write {
                    // What we write is what all others can read.
                    #expect(throws: Never.self) { try outcome.bound() }
                }
                if generator.chance(10) {
                    state.writeFailed(id, isTooLarge: generator.chance(3), now: now)
                } else {
                    let place = TopicPartition(topic: "beckon.outcomes", partition: 0)
                    state.acknowledged(id, at: RecordPosition(topicPartition: place, offset: 1), nowMs: now.epochMs)
                }
            case .answered, .dropped, .held, .unsure: break
            }
        }
    }

    private func write(_ push: Push) {
        let request = OutboundRequest(capacity: 512, expiresAtMs: push.expiresAtMs, deadline: .now()) { _, _ in }
        switch push.platform {
        case .apn: try? APNsRequest.write(push, to: request)
        case .fcm: try? FCMRequest.write(push, path: "/v1/projects/p/messages:send", nowMs: now.epochMs, to: request)
        default: try? HMSRequest.write(push, path: "/v1/1/messages:send", nowMs: now.epochMs, to: request)
        }
    }
}

/// The Producer: entrances, delivery facts as they are kept, the timeline.
private struct ProducerReader {
    private let challenge: Challenge
    private var facts: [DeliveryFact] = []

    init(_ source: RecordSource) {
        challenge = Challenge.sample(source.challenges[0], nowMs: source.nowMs)
    }

    mutating func read(_ record: ConsumedRecord, _ topic: Topic, nowMs: Int64) -> Bool {
        let contentType = record.headers.text(of: ContentType.headerName)
        switch topic {
        case .requests:
            let reading = RequestReading(
                value: record.value, contentType: contentType, timestampMs: record.timestampMs, traceparent: nil,
                account: RecordSource.account, nowMs: nowMs)
            if case .create(let new) = reading {
                #expect(Timestamp.range.contains(new.expiresAtMs))
                return true
            }
            return false
        case .receiptRequests:
            let reading = ReceiptReading(
                value: record.value, contentType: contentType, keys: RecordSource.keys, account: RecordSource.account,
                nowMs: nowMs)
            guard case .receipt(let receipt) = reading else { return false }
            #expect(Timestamp.range.contains(receipt.deviceTimeMs))
            return true
        case .outcomes, .receipts:
            let intake = RecordIntake(signer: RecordSource.signer, partitions: nil)
            guard let fact = try? DeliveryRecords.fact(of: record, by: intake) else { return false }
            // As the store gives it back.
            guard let kept = try? DeliveryFact(id: fact.id, kept: fact.kept) else {
                Issue.record("a fact that was taken cannot be read back")
                return false
            }
            facts.append(kept)
            _ = Timeline(challenge: challenge, facts: facts, nowMs: nowMs).body.text
            return true
        default: return false
        }
    }
}

extension Challenge {
    fileprivate static func sample(_ sid: ChallengeSID, nowMs: Int64) -> Challenge {
        Challenge(
            sid: sid, account: RecordSource.account, service: RecordSource.service,
            entity: EntitySID.generate(nowMs: nowMs), identity: "person-0001", factor: nil, message: "Sign in?",
            fields: "[]", hiddenDetails: nil, includesDate: false, expiresAtMs: nowMs + 300_000, createdAtMs: nowMs,
            updatedAtMs: nowMs, respondedAtMs: nil, status: .pending, responder: nil, signedAnswer: nil, metadata: nil,
            fallbacks: [], redelivery: Redelivery(), requestID: nil, notifications: 1)
    }
}
