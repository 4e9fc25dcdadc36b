import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import ServiceSupport
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Outbox relay on the stand-in broker", .timeLimit(.minutes(5)))
struct OutboxRelayTests {
    @Test("a challenge reaches the log authentic, with its trace, and leaves the outbox")
    func relayed() async throws {
        try await OutboxWorld.with { world in
            let topics = [world.names[.challenges], world.names[.events]]
            try await TopicTail.following(topics, kafka: world.kafka, logger: world.logger) { tail in
                try await world.relaying {
                    let nowMs = Timestamp.nowMs()
                    var new = NewChallenge(
                        account: world.account, service: world.service, identity: "person-0001", factor: nil,
                        message: "?", expiresAtMs: nowMs + 60_000)
                    new.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                    let challenge = try await world.store.createChallenge(new, nowMs: nowMs).0
                    try await eventually("two records, no rows") {
                        let rows = try await world.rows()
                        return rows == 0 && topics.allSatisfy { tail.count(of: $0) == 1 }
                    }
                    for record in topics.flatMap({ tail.records(of: $0) }) {
                        #expect(world.signer.isAuthentic(record))
                        #expect(String(decoding: record.key, as: UTF8.self) == challenge.sid.rawValue)
                        #expect(record.headers.text(of: RecordHeaderName.traceparent) == new.traceparent)
                    }
                    let event = try CloudEvent(json: tail.records(of: topics[1])[0].value)
                    #expect(event.id == "\(challenge.sid)/challenge.created")
                }
            }
            #expect(world.metrics.count(OutboxMetric.relayed.rawValue) == 2)
        }
    }

    @Test("an idle relay brings a new row to the log at once: it is called, and does not wait for its next look")
    func latency() async throws {
        try await OutboxWorld.with { world in
            try await world.relaying({ $0.look = .seconds(3600) }) {
                var waits: [Duration] = []
                for index in 1...40 {
                    let start = ContinuousClock.now
                    try await world.event("subject", index)
                    while world.metrics.count(OutboxMetric.relayed.rawValue) < index { await Task.yield() }
                    waits.append(ContinuousClock.now - start)
                    // Idle again before the next.
                    try await eventually("no rows") { try await world.rows() == 0 }
                }
                waits.sort()
                Speed.expect(
                    "relay-of-one-row",
                    ["p50_ms": waits[20].inMilliseconds, "p90_ms": waits[36].inMilliseconds],
                    waits[20] < .milliseconds(250))
            }
        }
    }

    @Test("rows of a key arrive in the order in which they were written, many keys at once")
    func order() async throws {
        try await OutboxWorld.with { world in
            let topic = world.names[.events]
            try await TopicTail.following([topic], kafka: world.kafka, logger: world.logger) { tail in
                try await world.relaying({
                    $0.claim = 50; $0.window = 100
                }) {
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for subject in 0..<20 {
                            group.addTask { for index in 0..<50 { try await world.event("s\(subject)", index) } }
                        }
                        try await group.waitForAll()
                    }
                    try await eventually("all of them") { tail.count(of: topic) >= 1000 }
                }
                var next: [String: Int] = [:]
                for event in try tail.records(of: topic).map({ try CloudEvent(json: $0.value) }) {
                    #expect(event.id == String(next[event.subject, default: 0]), "\(event.subject)")
                    next[event.subject, default: 0] += 1
                }
                #expect(next.values.allSatisfy { $0 == 50 } && next.count == 20)
            }
        }
    }

    @Test("an expired dispatch is deleted and not sent, its event is")
    func expired() async throws {
        try await OutboxWorld.with { world in
            let topics = [world.names[.challenges], world.names[.events]]
            try await TopicTail.following(topics, kafka: world.kafka, logger: world.logger) { tail in
                let late = try await world.challenge(lifeMs: 0)
                let live = try await world.challenge()
                try await world.relaying {
                    try await eventually("no rows") { try await world.rows() == 0 }
                    try await eventually("the records") {
                        tail.count(of: topics[0]) == 1 && tail.count(of: topics[1]) == 2
                    }
                }
                #expect(tail.records(of: topics[0]).map { String(decoding: $0.key, as: UTF8.self) } == [live.rawValue])
                #expect(
                    Set(tail.records(of: topics[1]).map { String(decoding: $0.key, as: UTF8.self) })
                        == [late.rawValue, live.rawValue])
            }
            #expect(world.metrics.count(OutboxMetric.expired.rawValue) == 1)
        }
    }

    @Test("a crash between publishing and deleting publishes the same again")
    func crash() async throws {
        try await OutboxWorld.with { world in
            let topic = world.names[.events]
            try await TopicTail.following([topic], kafka: world.kafka, logger: world.logger) { tail in
                try await world.event("s", 1)
                // What a relay that dies after the acknowledgement leaves behind.
                let rows = try await world.store.outbox.claimOutbox(
                    owner: "dead", limit: 10, leaseMs: 1, nowMs: Timestamp.nowMs() - 10)
                _ = try await world.producer.send(
                    world.signer.record(.events, key: rows[0].key, value: rows[0].value, contentType: .cloudEvent))
                try await world.relaying {
                    try await eventually("no rows") { try await world.rows() == 0 }
                    try await eventually("both") { tail.count(of: topic) == 2 }
                }
                let ids = try tail.records(of: topic).map { try CloudEvent(json: $0.value).id }
                #expect(ids == ["1", "1"])
            }
        }
    }

    @Test("two relays never have one name")
    func owners() { #expect(OutboxRelay.Options().owner != OutboxRelay.Options().owner) }

    @Test("what a dead owner holds is taken over when its lease ends, not before")
    func deadOwner() async throws {
        try await OutboxWorld.with { world in
            try await world.event("s", 1)
            let claimedAt = Timestamp.nowMs()
            let held = try await world.store.outbox.claimOutbox(
                owner: "dead", limit: 10, leaseMs: 1500, nowMs: claimedAt)
            #expect(held.count == 1)
            try await world.relaying({ $0.look = .milliseconds(20) }) {
                try await world.event("other", 2)
                try await eventually("the other row") { world.metrics.count(OutboxMetric.relayed.rawValue) == 1 }
                try await eventually("no rows") { try await world.rows() == 0 }
                #expect(Timestamp.nowMs() >= claimedAt + 1500)
            }
        }
    }

    @Test(
        "a clock that jumps ends the lease of a row in flight: it comes back from the store and is not sent again",
        .standIn())
    func jump() async throws {
        try await OutboxWorld.with { world in
            let topic = world.names[.events]
            let aheadMs = Mutex<Int64>(0)
            let nowMs: @Sendable () -> Int64 = { Timestamp.nowMs() + aheadMs.withLock { $0 } }
            /// A look from aside with a lease that ends at once: nothing is free while the relay holds the row.
            let isHeld: @Sendable () async throws -> Bool = {
                try await world.store.outbox.claimOutbox(owner: "probe", limit: 1, leaseMs: 1, nowMs: nowMs() - 10)
                    .isEmpty
            }
            try await TopicTail.following([topic], kafka: world.kafka, logger: world.logger) { tail in
                try await world.relaying({ $0.look = .milliseconds(20) }, nowMs: nowMs) {
                    try world.broker.inject(.brokerDown(1))
                    try await world.event("s", 1)
                    try await eventually("it is in flight", isHeld)
                    aheadMs.withLock { $0 = 600_000 }
                    try await eventually("it is claimed again", isHeld)
                    try world.broker.inject(.brokerUp(1))
                    try await eventually("no rows") { try await world.rows() == 0 }
                    // Behind whatever was sent of the first.
                    try await world.event("s", 2)
                    try await eventually("the second") {
                        try tail.records(of: topic).contains { try CloudEvent(json: $0.value).id == "2" }
                    }
                }
                #expect(try tail.records(of: topic).map { try CloudEvent(json: $0.value).id } == ["1", "2"])
            }
        }
    }

    @Test(
        "with the broker down nothing is lost, the role says so, and all arrives once it is back, in order", .standIn())
    func outage() async throws {
        try await OutboxWorld.with(properties: ["message.timeout.ms": "700"]) { world in
            let topic = world.names[.events]
            try await world.relaying({
                $0.limits.rows = 20
                $0.look = .milliseconds(50)
                $0.messageTimeout = .milliseconds(700)
            }) {
                try await world.event("s0", -1)
                try await eventually("no rows") { try await world.rows() == 0 }
                try world.broker.inject(.brokerDown(1))
                for index in 0..<40 { try await world.event("s\(index % 4)", index) }
                try await eventually("unready") {
                    world.readiness.reasons[OutboxRelay.readinessCheck]?.contains("40 rows") == true
                }
                try await eventually("failures") { world.metrics.count(OutboxMetric.failures.rawValue) >= 4 }
                #expect(try await world.rows() == 40)
                try world.broker.inject(.brokerUp(1))
                try await eventually("no rows") { try await world.rows() == 0 }
                try await eventually("ready") { world.readiness.isReady }
            }
            try await TopicTail.following([topic], kafka: world.kafka, logger: world.logger) { tail in
                try await eventually("all of them") {
                    Set(tail.records(of: topic).compactMap { try? CloudEvent(json: $0.value).id }).count == 41
                }
                var first: [String: [Int]] = [:]
                for event in try tail.records(of: topic).map({ try CloudEvent(json: $0.value) }) {
                    let number = try #require(Int(event.id))
                    if first[event.subject]?.contains(number) != true {
                        first[event.subject, default: []].append(number)
                    }
                }
                for (subject, numbers) in first { #expect(numbers == numbers.sorted(), "\(subject)") }
            }
        }
    }

    @Test("a record that Kafka refuses goes to dead letters, and those behind it go on")
    func refused() async throws {
        try await OutboxWorld.with(properties: ["message.max.bytes": "150000"]) { world in
            let topics = [world.names[.events], world.names[.deadLetters]]
            try await TopicTail.following(topics, kafka: world.kafka, logger: world.logger) { tail in
                // Refused as an event; as a dead letter it is refused too, for it is as large.
                try await world.event("s", 1, padding: 200_000)
                try await world.event("s", 2)
                try await world.relaying {
                    try await eventually("no rows") { try await world.rows() == 0 }
                    try await eventually("the second") { tail.count(of: topics[0]) == 1 }
                }
                #expect(try CloudEvent(json: tail.records(of: topics[0])[0].value).id == "2")
                #expect(world.metrics.count(OutboxMetric.abandoned.rawValue) == 1)
            }
        }
        try await OutboxWorld.with { world in
            let topics = [world.names[.events], world.names[.deadLetters]]
            try await TopicTail.following(topics, kafka: world.kafka, logger: world.logger) { tail in
                // Cut at 512 KB it fits.
                try await world.event("s", 1, padding: 1_200_000)
                try await world.relaying {
                    try await eventually("no rows") { try await world.rows() == 0 }
                    try await eventually("the dead letter") { tail.count(of: topics[1]) == 1 }
                }
                let letter = tail.records(of: topics[1])[0]
                #expect(world.signer.isAuthentic(letter) && letter.value.count == 512 * 1024)
                #expect(letter.headers.text(of: RecordHeaderName.deadLetterTopic) == topics[0])
                #expect(letter.headers.text(of: RecordHeaderName.deadLetterReason) == "refused")
                #expect(world.metrics.count(OutboxMetric.deadLetters.rawValue) == 1)
            }
        }
    }

    @Test("a right that Kafka does not grant holds the rows back, and they go once it is granted", .standIn())
    func forbidden() async throws {
        try await OutboxWorld.with { world in
            // TOPIC_AUTHORIZATION_FAILED to the next three produce requests.
            try world.broker.inject(.requestErrors(apiKey: 0, codes: [29, 29, 29]))
            for index in 0..<10 { try await world.event("s\(index % 2)", index) }
            try await world.relaying({ $0.look = .milliseconds(50) }) {
                try await eventually("no rows") { try await world.rows() == 0 }
            }
            #expect(world.metrics.count(OutboxMetric.failures.rawValue) >= 1)
            #expect(world.metrics.count(OutboxMetric.relayed.rawValue) == 10)
            #expect(world.metrics.count(OutboxMetric.deadLetters.rawValue) == 0)
        }
    }

    @Test("a stop gives back what was not sent and deletes what was acknowledged")
    func stop() async throws {
        try await OutboxWorld.with { world in
            for index in 0..<500 { try await world.event("one-key", index) }
            try await world.relaying {
                try await eventually("some") { world.metrics.count(OutboxMetric.relayed.rawValue) > 5 }
            }
            let relayed = Int(world.metrics.count(OutboxMetric.relayed.rawValue))
            #expect(try await world.rows() == 500 - relayed)
            let left = try await world.store.outbox.claimOutbox(
                owner: "next", limit: 1000, leaseMs: 1000, nowMs: Timestamp.nowMs())
            #expect(left.count == 500 - relayed, "nothing is still under a lease")
            try await world.store.outbox.releaseOutbox(left.map(\.id), owner: "next")
            try await world.relaying {
                try await eventually("the rest") { try await world.rows() == 0 }
            }
            #expect(Int(world.metrics.count(OutboxMetric.relayed.rawValue)) == 500)
        }
    }

    @Test("a stop while Kafka is away returns within its bound and keeps the rows", .standIn())
    func stopInOutage() async throws {
        try await OutboxWorld.with { world in
            try world.broker.inject(.brokerDown(1))
            try await world.event("s", 1)
            // What waited for the broker's answer would wait longer than the test may take.
            try await world.relaying({
                $0.stopBound = .milliseconds(300)
                $0.messageTimeout = .seconds(3600)
            }) {
                try await eventually("claimed") {
                    try await world.store.outbox.claimOutbox(
                        owner: "probe", limit: 1, leaseMs: 1, nowMs: Timestamp.nowMs() - 10
                    ).isEmpty
                }
            }
            #expect(try await world.rows() == 1)
        }
    }

    @Test("thousands of rows are relayed, once each")
    func throughput() async throws {
        try await OutboxWorld.with { world in
            let count = 6000
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<20 {
                    group.addTask {
                        for index in 0..<count / 20 { try await world.event("s\(task)-\(index)", index) }
                    }
                }
                try await group.waitForAll()
            }
            let start = ContinuousClock.now
            try await world.relaying { try await eventually("no rows") { try await world.rows() == 0 } }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            Speed.expect("relay", ["rows_per_second": Double(count) / seconds], Double(count) / seconds > 1000)
            #expect(Int(world.metrics.count(OutboxMetric.relayed.rawValue)) == count)
        }
    }
}

@Suite("Expiry sweep", .timeLimit(.minutes(5)))
struct ExpirySweepTests {
    @Test("what nobody answers is resolved soon after its time, more than one round's worth at once")
    func sweep() async throws {
        try await OutboxWorld.with { world in
            for _ in 0..<7 { try await world.challenge(lifeMs: 0) }
            let live = try await world.challenge()
            let sweep = ExpirySweep(
                store: world.store, logger: world.logger, metrics: world.metrics, interval: .seconds(3600), limit: 3)
            let running = Task { await sweep.run() }
            try await eventually("seven") { world.metrics.count(OutboxMetric.challengesExpired.rawValue) == 7 }
            running.cancel()
            await running.value
            let challenge = try await world.store.challenge(
                live, account: world.account, service: world.service, identity: "person-0001", factor: nil)
            #expect(challenge?.status == .pending)
        }
    }

    @Test("while the outbox is half full nothing is expired; what is due goes when there is room again")
    func held() async throws {
        try await OutboxWorld.with { world in
            for _ in 0..<7 { try await world.challenge(lifeMs: 0) }
            let pressure = OutboxPressure()
            pressure.update(rows: 51, limit: 100)
            #expect(pressure.isHalfFull && !pressure.isOver)
            let looks = Counted()
            let sweep = ExpirySweep(
                store: world.store, logger: world.logger, metrics: world.metrics, interval: .milliseconds(1),
                isHeld: {
                    looks.count.add(1, ordering: .relaxed)
                    return pressure.isHalfFull
                })
            let running = Task { await sweep.run() }
            try await eventually("several looks") { looks.count.load(ordering: .relaxed) > 5 }
            #expect(world.metrics.count(OutboxMetric.challengesExpired.rawValue) == 0)
            pressure.update(rows: 50, limit: 100)
            try await eventually("seven") { world.metrics.count(OutboxMetric.challengesExpired.rawValue) == 7 }
            running.cancel()
            await running.value
        }
    }

    private final class Counted: Sendable {
        let count = Atomic(0)
    }

    @Test("a store that fails is counted, and the sweep returns when it is cancelled")
    func failing() async throws {
        try await OutboxWorld.with { world in
            await world.store.close()
            let sweep = ExpirySweep(
                store: world.store, logger: world.logger, metrics: world.metrics, interval: .milliseconds(1))
            let running = Task { await sweep.run() }
            try await eventually("two failures") {
                world.metrics.count(OutboxMetric.sweepFailures.rawValue) >= 2
            }
            running.cancel()
            await running.value
        }
    }
}
