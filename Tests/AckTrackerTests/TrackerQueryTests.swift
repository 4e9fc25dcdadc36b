import ChallengeModel
import Foundation
import KafkaClient
import ServiceSupport
import Testing
import Wire

@testable import AckTracker

@Suite("What the tracker says of a challenge")
struct TrackerQueryTests {
    @Test("waiting, confirmed, dead, hidden, exhausted: state, next action and why, and nothing secret")
    func view() throws {
        var story = FoldStory(devices: 4)
        story.redelivery.maxAttempts = 1
        story.at(
            0, story.dispatch(), story.outcome(.accepted), story.outcome(.tokenDead, device: 1, reason: "Unregistered"),
            story.outcome(.accepted, device: 2))
        story.at(100, story.receipt(device: 2, shown: .no))
        let view = try #require(story.fold.view(story.sid, partition: 3, at: FoldStory.time(200)))
        #expect(view.state == "open" && view.partition == 3 && view.challengeSid == story.challenge.rawValue)
        #expect(view.devices.map(\.state) == ["exhausted", "token-dead", "hidden", "awaiting-outcome"])
        #expect(view.devices[0].accepted == ["c"] && view.devices[3].awaitingOutcome == ["c"])
        #expect(view.devices[1].detail == "Unregistered")
        #expect(view.nextAction == "escalate")
        let json = String(decoding: try JSONEncoder().encode(view), as: UTF8.self)
        for secret in ["person-1", "Sign in?", "aabb"] { #expect(!json.contains(secret)) }
        story.at(300, story.receipt())
        #expect(story.fold.view(story.sid, partition: 3, at: FoldStory.time(300))?.nextAction == "forget")
        story.at(400, story.resolution())
        #expect(story.fold.view(story.sid, partition: 3, at: FoldStory.time(400))?.state == "closed")
    }

    @Test("an open one says when it is pushed again")
    func next() throws {
        var story = FoldStory()
        story.at(0, story.dispatch(), story.outcome(.accepted))
        let view = try #require(story.fold.view(story.sid, partition: 0, at: FoldStory.time(10)))
        let due = try #require(story.pushAt) + FoldStory.epochMs
        #expect(view.nextAction == "push" && view.nextAt == Timestamp.rfc3339Milliseconds(due))
        #expect(view.devices.first?.state == "waiting" && view.devices.first?.nextPushAt == view.nextAt)
    }

    @Test("the owner answers; one that does not own the partition says so", .timeLimit(.minutes(5)))
    func owner() async throws {
        try await TrackerRig.with(partitions: 2) { rig in
            let readiness = Readiness()
            let tracker = TrackerService(
                configuration: rig.configuration(), readiness: readiness, logger: rig.logger, metrics: rig.metrics)
            let page = tracker.challengePage
            let challenge = try await rig.accepted(1) {
                $0.latencyMs = 300_000
                $0.lifeMs = 3_600_000
            }[0]
            #expect(await page.answer(challenge.sid.rawValue).status == 503)
            let running = Task { try await tracker.run() }
            try await rig.ready(readiness)
            let reply = await page.answer(challenge.sid.rawValue)
            #expect(reply.status == 200 && reply.json.contains(#""next_action":"push""#), "\(reply)")
            #expect(await page.answer(ChallengeSID.generate(variant: 3, nowMs: 1).rawValue).status == 404)
            #expect(await page.answer("YC12").status == 400)
            // With a second member one of the two owns the challenge.
            try await rig.tracking { second in
                try await eventually("shared") { second.isReady && readiness.isReady }
                try await eventually("one of the two partitions is elsewhere") {
                    var statuses: Set<Int> = []
                    for _ in 0..<20 {
                        let sid = ChallengeSID.generate(variant: 3, nowMs: Timestamp.nowMs())
                        statuses.insert(await page.answer(sid.rawValue).status)
                    }
                    return statuses == [404, 421]
                }
            }
            running.cancel()
            try await running.value
            #expect(await page.answer(challenge.sid.rawValue).status == 503)
        }
    }
}

@Suite("Adaptive latency, simulated", .timeLimit(.minutes(5)))
struct RedeliverySimulationTests {
    @Test(
        "fast: reached sooner than with 8 s; slow: at most half of the needless second pushes, p95 at most 1.25 times")
    func adaptive() {
        var simulation = RedeliverySimulation()
        simulation.challenges = 10_000
        let (fixedFast, fast) = (simulation.run(.fast, adaptive: false), simulation.run(.fast, adaptive: true))
        #expect(fast.p95MS < fixedFast.p95MS, "\(fast.p95MS) \(fixedFast.p95MS)")
        let (fixedSlow, slow) = (simulation.run(.slow, adaptive: false), simulation.run(.slow, adaptive: true))
        #expect(slow.needlessSecondPushes * 2 <= fixedSlow.needlessSecondPushes)
        #expect(Double(slow.p95MS) <= 1.25 * Double(fixedSlow.p95MS), "\(slow.p95MS) \(fixedSlow.p95MS)")
        #expect(slow.reached >= 9_990)
    }
}

@Suite("Commits behind what is held")
struct CommitLagTests {
    @Test(
        "an hour of challenges, some of an hour's life: the commit is never more than 65 s behind the oldest younger one"
    )
    func hour() {
        var policy = TrackerPolicy()
        policy.restartSpreadMs = 0
        let start = FoldStory.time(0)
        let partition = TrackedPartition(
            number: 0, policy: policy, start: Positions(), newsFrom: Positions(), leadMs: 60_000, at: start)
        partition.begin(at: start)
        for topic in Positions.indices { _ = partition.absorb(topic, [.end(0)], at: start) }
        var offset: Int64 = 0
        /// When each offset of `challenges` was read.
        var readAtMs: [Int64] = []
        /// Of the challenges held, when each was read last and when it is forgotten.
        var held: [PackedSID: (readMs: Int64, endMs: Int64)] = [:]
        var worst: Int64 = 0
        for second in Int64(1)...3_600 {
            let time = FoldStory.time(second * 1_000)
            var story = FoldStory()
            story.lifeMs = second % 50 == 0 ? 3_600_000 : 300_000
            let dispatch = story.dispatch { dispatch in
                dispatch.createdAtMs = time.wallMs
                dispatch.expiresAtMs = time.wallMs + story.lifeMs
            }
            func read(_ fact: Fact) {
                _ = partition.absorb(0, [.fact(fact, offset: offset, timestampMs: time.wallMs)], at: time)
                offset += 1
                readAtMs.append(second * 1_000)
            }
            read(dispatch)
            held[story.sid] = (second * 1_000, second * 1_000 + story.lifeMs + 60_000)
            // What is carried forward comes back at once.
            if partition.collect(at: time, latencies: nil), partition.raiseBarrier() {
                partition.setEnds(Positions())
                for firing in partition.fire(at: time) {
                    for action in firing.actions {
                        guard case .carry(let carried, _) = action else {
                            partition.failed(firing.sid, at: time)
                            continue
                        }
                        partition.acknowledged(firing.sid, topic: 0, offset: offset, at: time)
                        let factors = carried.dispatch.targets.compactMap {
                            PackedSID($0.factorSid, prefix: FactorKind.prefix)
                        }
                        read(Fact(challenge: firing.sid, kind: .carried(carried, factors: factors)))
                        held[firing.sid]?.readMs = second * 1_000
                    }
                }
            }
            held = held.filter { $0.value.endMs > second * 1_000 }
            guard let committed = partition.checkpoint(at: time)?.commit else { continue }
            let oldest = held.values.map(\.readMs).filter { $0 > second * 1_000 - 600_000 }.min() ?? second * 1_000
            let position = committed[0] < offset ? readAtMs[Int(committed[0])] : second * 1_000
            // Everything held must be found again from there.
            #expect(held.values.allSatisfy { $0.readMs >= position }, "at \(second) s")
            if second > 120 { worst = max(worst, oldest - position) }
        }
        print("commit behind the oldest held: \(worst) ms at most")
        #expect(worst <= 65_000)
    }
}
