import AckTracker
import ChallengeModel
import CoreMetrics
import KafkaClient
import Logging
import ServiceLifecycle
import ServiceSupport
import TestSupport
import Testing

@Suite("The tracker and faults", .timeLimit(.minutes(5)))
struct TrackerFaultTests {
    /// Protocol numbers of requests.
    enum APIKey {
        static let produce: Int16 = 0
        static let listOffsets: Int16 = 2
        static let offsetCommit: Int16 = 8
    }
    /// TOPIC_AUTHORIZATION_FAILED: not tried again by librdkafka itself.
    static let refused: Int16 = 29

    @Test("while commits are refused nothing is pushed; when they are taken again it is, once", .standIn())
    func fence() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                // A commit every half second: none is taken for five seconds, the fence closes after one and a half.
                try rig.broker.inject(
                    .requestErrors(apiKey: APIKey.offsetCommit, codes: Array(repeating: Self.refused, count: 10)))
                let start = ContinuousClock.now
                let challenge = try await rig.accepted(1) { $0.latencyMs = 2_000 }[0]
                try await eventually("unready") { readiness.reasons[TrackerService.Check.commits] != nil }
                try await eventually("t1 in the end") { try rig.attempts(of: challenge).count == 1 }
                #expect(ContinuousClock.now - start > .milliseconds(4_000), "not while the commits were refused")
                try await rig.ready(readiness)
                #expect(try rig.attempts(of: challenge) == ["t1"])
            }
        }
    }

    @Test("while the ends of the topics are not known nothing is pushed", .standIn())
    func ends() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                // A question is given up after a second and a half. These last for some of them.
                try rig.broker.inject(
                    .requestErrors(apiKey: APIKey.listOffsets, codes: Array(repeating: Self.refused, count: 400)))
                let challenge = try await rig.accepted(1) { $0.latencyMs = 1_000 }[0]
                try await eventually("t1") { try rig.attempts(of: challenge).count == 1 }
                let attempt = try #require(
                    rig.tail.records(of: rig.topics[.challenges]).last {
                        String(decoding: $0.key, as: UTF8.self) == challenge.sid.rawValue
                    })
                let waited = attempt.timestampMs - challenge.createdAtMs
                #expect(waited > 4_000, "\(waited) ms: after the first question that was refused")
                let later = try await rig.accepted(1)[0]
                try await eventually("a later one") { try rig.attempts(of: later).count == 1 }
                #expect(try rig.attempts(of: challenge) == ["t1"])
            }
        }
    }

    @Test("a refused write is decided and written again, an event as well", .standIn())
    func writes() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                let challenge = try await rig.accepted(1) { $0.latencyMs = 1_500 }[0]
                try await eventually("dispatched") { try rig.events(.challengeDispatched).count == 1 }
                try rig.broker.inject(
                    .requestErrors(apiKey: APIKey.produce, codes: Array(repeating: Self.refused, count: 2)))
                try await eventually("t1") { try rig.attempts(of: challenge).count == 1 }
                try await rig.outcome(.accepted, challenge, "t1")
                try await eventually("t2") { try rig.attempts(of: challenge) == ["t1", "t2"] }
            }
        }
    }

    @Test(
        "events that cannot be written end no redelivery; when they can again what was left is told, and nothing is pushed twice",
        .standIn()
    )
    func silence() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            let events = rig.topics[.events]
            let configuration = rig.configuration {
                $0.kafka.properties["message.timeout.ms"] = "1000"
                $0.maxOutstandingWrites = 10
                $0.batchSize = 10
            }
            try await rig.tracking(configuration) { readiness in
                try await rig.ready(readiness)
                try rig.broker.inject(.leader(topic: events, partition: 0, broker: nil))
                let challenges = try await rig.accepted(60) { $0.latencyMs = 1_000 }
                try await eventually("all are pushed again") { try rig.attempts().count == 60 }
                #expect(readiness.reasons[TrackerService.Check.events]?.contains("cannot be written") == true)
                #expect(rig.tail.count(of: events) == 0)
                try rig.broker.inject(.leader(topic: events, partition: 0, broker: 1))
                try await eventually("all are told") {
                    try Set(rig.events(.challengeDispatched).map(\.subject)).count == 60
                }
                try await rig.ready(readiness)
                try await rig.confirm(challenges[...])
                try await eventually("the receipts too") { try rig.events(.challengeConfirmed).count == 60 }
                try rig.expectOnly(challenges[...], isSpread: false)
            }
        }
    }

    @Test("a challenge carried forward is found by an owner that starts behind its creation")
    func carried() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            let configuration = rig.configuration { $0.policy.carryAfterMs = 700 }
            let challenge = try await rig.tracking(configuration) { readiness in
                try await rig.ready(readiness)
                let challenge = try await rig.accepted(1) { $0.latencyMs = 9_000 }[0]
                try await eventually("carried three times") { rig.tail.count(of: rig.topics[.challenges]) >= 4 }
                return challenge
            }
            // The new owner's group position is beyond the first dispatch.
            let probe = try KafkaConsumer(
                configuration: rig.kafka, groupID: configuration.groupID, topics: [rig.topics[.challenges]],
                logger: rig.logger)
            let key = TopicPartition(topic: rig.topics[.challenges], partition: 0)
            let position = try await probe.committed([key], deadline: .seconds(60))[key] ?? nil
            #expect((position?.offset ?? 0) > 0)
            let leaving = Task {
                for await event in probe.events {
                    if case .assigned(let assignment) = event { _ = try? await assignment.accept(from: [:]) }
                    if case .revoked(let revocation) = event { await revocation.accept() }
                }
            }
            await probe.close(deadline: .seconds(5))
            await leaving.value
            try await rig.tracking { _ in
                try await eventually("t1") { try rig.attempts(of: challenge) == ["t1"] }
                let push = try #require(rig.attempts().first)
                #expect(push.targets.map(\.factorSid) == [challenge.factor.rawValue])
                #expect(push.message == "Sign in?")
            }
        }
    }

    @Test("a graceful shutdown leaves the group: a successor has the partitions well before the session timeout")
    func graceful() async throws {
        try await TrackerRig.with(partitions: 2) { rig in
            let readiness = Readiness()
            let tracker = TrackerService(
                configuration: rig.configuration(), readiness: readiness, logger: rig.logger,
                metrics: NOOPMetricsHandler.instance)
            let group = ServiceGroup(
                configuration: .init(services: [tracker], gracefulShutdownSignals: [], logger: rig.logger))
            let running = Task { try await group.run() }
            try await rig.ready(readiness)
            let challenge = try await rig.accepted(1) { $0.latencyMs = 3_000 }[0]
            try await eventually("seen") { try rig.events(.challengeDispatched).count == 1 }
            await group.triggerGracefulShutdown()
            try await running.value
            #expect(!readiness.isReady)
            try await rig.tracking { _ in
                try await eventually("t1") { try rig.attempts(of: challenge) == ["t1"] }
            }
            #expect(try rig.events(.challengeDispatched).count == 1)
        }
    }
}
