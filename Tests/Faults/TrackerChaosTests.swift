import AsyncHTTPClient
import ChallengeModel
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOHTTP1
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

/// Trackers die, stand still and are added while phones lose 30 % of their pushes. Short here; `scripts/chaos-tracker`
/// runs it for minutes.
@Suite("Trackers killed, frozen and added under load", .timeLimit(.minutes(10)), .serialized)
struct TrackerChaosTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    struct Plan: Sendable {
        var seconds = 9.0
        var perSecond = 20.0
        var everySeconds = 2.5
        var phones = 100
        var lifeMs: Int64 = 30_000
        let latencyMs = 1_500
        /// The broker stand-in looks for a fetch's offset from the start of the partition, also when there is nothing
        /// new: with the log of minutes, a hundred empty fetches a second from each consumer take the whole of its
        /// processor.
        let settings = ["BECKON_KAFKA_PROPERTIES": "fetch.wait.max.ms=100,linger.ms=5"]

        /// `BECKON_CHAOS_SECONDS`, `_RATE`, `_EVERY`, `_PHONES`, `_LIFE_MS`.
        init() {
            let environment = ProcessInfo.processInfo.environment
            func number(_ name: String, _ otherwise: Double) -> Double {
                environment["BECKON_CHAOS_" + name].flatMap { Double($0) } ?? otherwise
            }
            seconds = number("SECONDS", seconds)
            perSecond = number("RATE", perSecond)
            everySeconds = number("EVERY", everySeconds)
            phones = Int(number("PHONES", Double(phones)))
            lifeMs = Int64(number("LIFE_MS", Double(lifeMs)))
        }
    }

    @Test("every challenge ends; nobody is asked again after a receipt; no attempt too many; 99 % are confirmed")
    func chaos() async throws {
        let plan = Plan()
        try await BeckonCluster.with { cluster in
            _ = try await cluster.start("producer", "producer", more: plan.settings).ready()
            for name in ["dispatcher", "tracker-1", "tracker-2"] {
                try cluster.start(name, name == "dispatcher" ? name : "ack-tracker", more: plan.settings)
            }
            for name in ["dispatcher", "tracker-1", "tracker-2"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.startPhones(plan.phones, behaviour: "answers,denies,ignores")
            try await loseThirty(cluster)
            let topics = Topic.copartitioned.map { cluster.names[$0] }
            try await TopicTail.following(topics, kafka: cluster.kafka, logger: logger) { tail in
                let made = Mutex(0)
                let disturbing = Task { try await self.disturb(cluster, plan) }
                try await load(cluster, service, plan) { made.withLock { $0 += 1 } }
                let faults = try await disturbing.value
                let count = made.withLock { $0 }
                let audit = try await settled(tail, cluster.names, count, plan)
                let reached = Double(audit.confirmed.count) / Double(max(1, audit.created.count))
                print("tracker chaos, \(Int(plan.seconds)) s, \(faults): \(audit), confirmed \(reached)")
                #expect(audit.created.count >= count, "created")
                let open = audit.created.subtracting(audit.confirmed).subtracting(audit.escalated)
                    .subtracting(audit.resolved.keys)
                #expect(open.isEmpty, "neither confirmed, answered, undelivered nor expired: \(open.prefix(3))")
                // Of four attempts 0.3^4 = 0.8 % are lost.
                #expect(reached >= 0.98, "\(reached)")
                #expect(audit.afterReceipt.isEmpty, "\(audit.afterReceipt.prefix(3))")
                #expect(audit.afterExpiry.isEmpty)
                #expect(audit.mostAttempts <= 4)
                #expect(audit.mostAttempts >= 2, "nothing was lost, so nothing is shown")
                #expect(audit.withoutOutcome.isEmpty)
            }
        }
    }

    private func loseThirty(_ cluster: BeckonCluster) async throws {
        for provider in ["apn", "fcm"] {
            var request = HTTPClientRequest(url: "\(cluster.control)/faults/\(provider)")
            request.method = .PUT
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: #"{"dropShare":0.3}"#))
            let response = try await cluster.client.execute(request, timeout: .seconds(60))
            #expect(response.status == .ok || response.status == .noContent, "\(response.status)")
        }
    }

    /// In turn: one is killed and another added; one is frozen past its session and woken up again.
    private func disturb(_ cluster: BeckonCluster, _ plan: Plan) async throws -> String {
        let end = ContinuousClock.now + .seconds(plan.seconds)
        var alive = ["tracker-1", "tracker-2"]
        var next = 3
        var (kills, freezes) = (0, 0)
        while true {
            try await Task.sleep(for: .seconds(plan.everySeconds * Double.random(in: 0.8...1.2)))
            guard ContinuousClock.now < end else { break }
            if kills <= freezes {
                cluster.kill(alive.removeFirst())
                alive.append("tracker-\(next)")
                try cluster.start("tracker-\(next)", "ack-tracker", more: plan.settings)
                next += 1
                kills += 1
            } else if let frozen = cluster[alive[0]] {
                // Past its session: meanwhile the group has given its partitions away.
                Foundation.kill(frozen.identifier, SIGSTOP)
                try await Task.sleep(for: cluster.kafka.sessionTimeout + .seconds(1))
                Foundation.kill(frozen.identifier, SIGCONT)
                freezes += 1
            }
        }
        return "\(kills) killed, \(freezes) frozen"
    }

    private func load(
        _ cluster: BeckonCluster, _ service: String, _ plan: Plan, made: @escaping @Sendable () -> Void
    ) async throws {
        let start = ContinuousClock.now
        let count = Int(plan.seconds * plan.perSecond)
        try await withThrowingDiscardingTaskGroup { group in
            for index in 0..<count {
                try await Task.sleep(until: start + .seconds(Double(index) / plan.perSecond))
                group.addTask {
                    var draft = ChallengeDraft(message: "Chaos \(index)?")
                    draft.expectedLatencyMs = plan.latencyMs
                    draft.expiresAtMs = Timestamp.nowMs() + plan.lifeMs
                    draft.fallbacks = ["sms"]
                    let identity = "person-" + String(100_001 + index % plan.phones).dropFirst()
                    do {
                        _ = try await cluster.backend.createChallenge(
                            serviceSID: service, identity: identity, draft)
                        made()
                    } catch let error as BackendError where error.status == 429 {
                        // One person has too many live ones: not what this is about.
                    }
                }
            }
        }
    }

    /// Waits until all that was created has come to an end.
    private func settled(
        _ tail: TopicTail, _ names: TopicNames, _ count: Int, _ plan: Plan
    ) async throws -> DeliveryAudit {
        let end = ContinuousClock.now + .milliseconds(plan.lifeMs + 120_000)
        while true {
            let audit = try DeliveryAudit(tail, names)
            let ended = audit.confirmed.union(audit.escalated).union(audit.resolved.keys)
            if audit.created.count >= count, ended.isSuperset(of: audit.created), audit.withoutOutcome.isEmpty {
                return audit
            }
            if ContinuousClock.now > end { return audit }
            try await Task.sleep(for: .milliseconds(500))
        }
    }
}
