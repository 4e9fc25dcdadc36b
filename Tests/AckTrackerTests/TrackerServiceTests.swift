import AckTracker
import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
import ServiceSupport
import TestSupport
import Testing
import Wire

@Suite("The tracker on a broker", .timeLimit(.minutes(5)))
struct TrackerServiceTests {
    @Test("no receipt: t1 after the expected latency, with target and trace; a receipt before: nothing")
    func attempts() async throws {
        try await TrackerRig.with { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                let confirmed = TrackerRig.Challenge()
                try await rig.dispatch(confirmed)
                _ = try await rig.producer.send(rig.receipt(confirmed))
                try await rig.outcome(.accepted, confirmed)
                var silent = TrackerRig.Challenge()
                silent.maxAttempts = 2
                try await rig.dispatch(silent)
                try await rig.outcome(.accepted, silent)
                try await eventually("t1") { try rig.attempts(of: silent) == ["t1"] }
                let record = try #require(
                    rig.tail.records(of: rig.topics[.challenges]).last {
                        String(decoding: $0.key, as: UTF8.self) == silent.sid.rawValue
                    })
                let acceptedAtMs = try rig.acceptedAtMs(silent)
                let waitedMs = record.timestampMs - (try #require(acceptedAtMs))
                #expect(waitedMs >= 390, "\(waitedMs) ms")
                #expect(rig.signer.isAuthentic(record))
                #expect(record.headers.text(of: "traceparent")?.hasPrefix("00-0af7651916cd43dd") == true)
                let push = try #require(rig.attempts().first)
                #expect(push.targets.map(\.factorSid) == [silent.factor.rawValue])
                #expect(push.targets[0].pushToken == String(repeating: "ab", count: 32))
                #expect(push.message == "Sign in?" && push.fallbacks == ["sms", "voice"])
                try await rig.outcome(.accepted, silent, "t1")
                // Both attempts used: one latency later the backend is told.
                try await eventually("undelivered") { try !rig.events(.challengeUndelivered, of: silent).isEmpty }
                #expect(try rig.attempts(of: silent) == ["t1"])
                #expect(try rig.attempts(of: confirmed).isEmpty)
                #expect(try rig.events(.challengeDispatched).count == 2)
                #expect(try rig.events(.challengeConfirmed).map(\.subject) == [confirmed.sid.rawValue])
                #expect(try rig.escalations().map(\.challengeSid) == [silent.sid.rawValue])
                let event = try #require(rig.events(.challengeUndelivered, of: silent).first)
                #expect(event.data["fallbacks"] == .list(["sms", "voice"]))
                #expect(rig.tail.records(of: rig.topics[.events]).allSatisfy { rig.signer.isAuthentic($0) })
            }
        }
    }

    @Test(
        "a receipt under a key that is not here holds the partition: nothing is pushed again until a tracker can read it"
    )
    func unknownKey() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            let other = KeyRing.random(id: "k2")
            let strange = RecordSigner(names: rig.topics, authenticator: RecordAuthenticator(keys: other))
            let challenge = TrackerRig.Challenge()
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                var receipt = Receipt()
                receipt.accountSid = TrackerRig.account
                receipt.serviceSid = TrackerRig.service
                receipt.challengeSid = challenge.sid.rawValue
                receipt.factorSid = challenge.factor.rawValue
                receipt.channel = .visiblePush
                receipt.receivedAtMs = Timestamp.nowMs()
                _ = try await rig.producer.send(
                    strange.record(.receipts, key: challenge.sid.rawValue, value: receipt.protobufBytes()))
                try await eventually("the hold is told") { readiness.reasons[KeyHolds.check]?.contains("k2") == true }
                try await rig.dispatch(challenge)
                try await rig.outcome(.accepted, challenge)
                // Far beyond its expected latency: what is due waits for the receipts to be read to their end.
                try await eventually("the challenge is read") { try !rig.events(.challengeDispatched).isEmpty }
                try await Task.sleep(for: .seconds(2))
                #expect(try rig.attempts().isEmpty)
                #expect(rig.tail.records(of: rig.topics[.deadLetters]).isEmpty)
            }
            var configuration = rig.configuration()
            configuration.recordKeys = KeyRing(keys: rig.keys.keys + other.keys)
            try await rig.tracking(configuration) { readiness in
                try await rig.ready(readiness)
                try await eventually("confirmed") { try !rig.events(.challengeConfirmed, of: challenge).isEmpty }
                #expect(try rig.attempts().isEmpty)
                #expect(rig.tail.records(of: rig.topics[.deadLetters]).isEmpty)
            }
        }
    }

    @Test("no device can be reached: escalation with the fall-backs well before the expiry, once, over a restart too")
    func escalation() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            var challenge = TrackerRig.Challenge()
            challenge.lifeMs = 120_000
            let dead = challenge
            try await rig.tracking { _ in
                try await rig.dispatch(dead)
                try await rig.outcome(.tokenDead, dead, reason: "Unregistered")
                try await eventually("undelivered") { try rig.events(.challengeUndelivered).count == 1 }
                #expect(Timestamp.nowMs() < dead.createdAtMs + 72_000)
            }
            let failed = try #require(rig.events(.pushFailed).first)
            #expect(failed.data["error_code"] == "52141")
            let marker = TrackerRig.Challenge()
            try await rig.tracking { _ in
                try await rig.dispatch(marker)
                try await rig.outcome(.accepted, marker)
                try await eventually("t1 of the marker") { try rig.attempts(of: marker).count == 1 }
            }
            #expect(try rig.escalations().count == 1)
            let undelivered = try rig.events(.challengeUndelivered)
            #expect(try undelivered.count == 1 && rig.attempts(of: dead).isEmpty)
            let device = try #require(undelivered.first?.data["devices"]?.listValue?.first)
            #expect(device["reason"] == "token-dead" && device["detail"] == "Unregistered")
        }
    }

    @Test("an escalation whose writer died before the event: the next owner tells it, and only one of them does")
    func diedBetween() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            let challenge = try await rig.accepted(1) { $0.latencyMs = 50_000 }[0]
            var record = OutcomeRecord()
            record.escalation.accountSid = TrackerRig.account
            record.escalation.serviceSid = TrackerRig.service
            record.escalation.challengeSid = challenge.sid.rawValue
            _ = try await rig.producer.send(
                rig.signer.record(.outcomes, key: challenge.sid.rawValue, value: record.protobufBytes()))
            for _ in 0..<2 {
                let marker = TrackerRig.Challenge()
                try await rig.tracking { _ in
                    try await eventually("undelivered") { try rig.events(.challengeUndelivered).count == 1 }
                    try await rig.dispatch(marker)
                    try await rig.outcome(.accepted, marker)
                    try await eventually("dispatched") { try rig.events(.challengeDispatched, of: marker).count == 1 }
                }
            }
            #expect(try rig.events(.challengeUndelivered).count == 1)
            #expect(try rig.events(.challengeDispatched, of: challenge).count == 1)
        }
    }

    /// `BECKON_TRACKER_RESTART=50000` is the long form: so many open, 98 % receipts, 30 s without a tracker.
    static let restartOpen = ProcessInfo.processInfo.environment["BECKON_TRACKER_RESTART"].flatMap { Int($0) } ?? 2_000

    /// `FoldReplayTests` shows that the pushes are spread over time; the long form of this test measures it.
    @Test("a restart with receipts that came meanwhile pushes again to the others: once each, none before")
    func restart() async throws {
        let open = Self.restartOpen
        let isLong = open > 2_000
        let confirmed = open / 100 * 98
        try await TrackerRig.with(partitions: isLong ? 12 : 3) { rig in
            let configuration = rig.configuration {
                $0.policy.restartSpreadMs = 4_000
                $0.policy.maxAttempts = 2
            }
            let life: Int64 = isLong ? 300_000 : 180_000
            let challenges = try await rig.tracking(configuration) { readiness in
                try await rig.ready(readiness)
                // Their latency passes while nobody looks.
                let challenges = try await rig.accepted(open) {
                    $0.latencyMs = isLong ? 45_000 : 15_000
                    $0.lifeMs = life
                }
                try await eventually("all were seen", within: .seconds(60)) {
                    rig.tail.count(of: rig.topics[.events]) >= open
                }
                return challenges
            }
            let stopped = ContinuousClock.now
            #expect(try rig.attempts().isEmpty)
            try await rig.confirm(challenges[..<confirmed])
            let overdue = (challenges.map(\.createdAtMs).max() ?? 0) + (isLong ? 50_000 : 15_700)
            try await eventually("every timer is overdue", within: .seconds(60)) {
                Timestamp.nowMs() > overdue && (!isLong || ContinuousClock.now - stopped > .seconds(30))
            }
            let startMs = Timestamp.nowMs()
            try await rig.tracking(configuration) { readiness in
                // Counted, not decoded: a poll that decodes every record would take the processor that the tracker
                // needs.
                try await eventually("attempts", within: .seconds(180)) {
                    rig.tail.count(of: rig.topics[.challenges]) >= open + open - confirmed
                }
                try await eventually("confirmed", within: .seconds(120)) {
                    rig.tail.count(of: rig.topics[.events]) >= open + confirmed
                }
                try await rig.ready(readiness)
            }
            try rig.expectOnly(challenges[confirmed...], isSpread: isLong)
            #expect(
                try rig.events(.challengeConfirmed).count == confirmed,
                "told once, although nobody looked when they came")
            #expect(try rig.events(.challengeDispatched).count == open, "not told again after the restart")
            print(
                "restart: \(open) open, \(confirmed) receipts, done \(Timestamp.nowMs() - startMs) ms after the start")
        }
    }

    @Test("the partitions move to another instance while receipts arrive: the others are pushed again, once each")
    func moved() async throws {
        let open = Self.restartOpen
        let isLong = open > 2_000
        let confirmed = open / 100 * 98
        try await TrackerRig.with(partitions: isLong ? 12 : 3) { rig in
            let configuration = rig.configuration {
                $0.policy.restartSpreadMs = 4_000
                // On a slow machine there is time for a second attempt, rightly.
                $0.policy.maxAttempts = 2
            }
            // The first runs until the second has its share, then goes; the second gets everything.
            let first = Readiness()
            let tracker = TrackerService(
                configuration: configuration, readiness: first, logger: rig.logger, metrics: rig.metrics)
            let running = Task { try await tracker.run() }
            try await rig.ready(first)
            func accepted(_ count: Int, latencyMs: UInt32) async throws -> [TrackerRig.Challenge] {
                try await rig.accepted(count) {
                    $0.latencyMs = latencyMs
                    $0.lifeMs = 300_000
                }
            }
            // What is confirmed after the hand-over must not be due before, however long that takes.
            let late = try await accepted(confirmed / 2, latencyMs: 120_000)
            let silent = try await accepted(open - confirmed, latencyMs: isLong ? 45_000 : 20_000)
            let early = try await accepted(confirmed - late.count, latencyMs: isLong ? 45_000 : 20_000)
            try await rig.tracking(configuration) { second in
                try await rig.confirm(early[...])
                try await eventually("the second has its share", within: .seconds(60)) { second.isReady }
                running.cancel()
                try await rig.confirm(late[...])
                try await running.value
                try await eventually("attempts", within: .seconds(180)) {
                    rig.tail.count(of: rig.topics[.challenges]) >= open + open - confirmed
                }
                try await rig.ready(second)
                try await eventually("confirmed", within: .seconds(120)) {
                    guard rig.tail.count(of: rig.topics[.events]) >= open + confirmed else { return false }
                    return try rig.events(.challengeConfirmed).count >= confirmed
                }
            }
            try rig.expectOnly(silent[...], isSpread: false)
            #expect(Set(try rig.events(.challengeConfirmed).map(\.id)).count == confirmed)
        }
    }

    @Test("a forged receipt silences nothing; it goes to dead letters once; a misplaced record is put right")
    func forged() async throws {
        try await TrackerRig.with { rig in
            _ = try await rig.producer.partitionCounts(of: [rig.topics[.receipts]], deadline: .seconds(60))
            let challenges = try await rig.accepted(3) { $0.latencyMs = 800 }
            var unsigned = rig.receipt(challenges[0])
            unsigned.headers.removeAll { $0.name == RecordAuthenticator.headerName }
            var foreign = rig.receipt(challenges[1])
            foreign.value = rig.receipt(challenges[0]).value
            var misplaced = rig.receipt(challenges[2])
            misplaced.partition = (Murmur2.partition(key: misplaced.key, partitions: 3) + 1) % 3
            for record in [unsigned, foreign, misplaced] { _ = try await rig.producer.send(record) }
            for _ in 0..<2 {
                try await rig.tracking { _ in
                    try await eventually("the forged ones are pushed again") {
                        try rig.attempts(of: challenges[0]).contains("t1")
                            && rig.attempts(of: challenges[1]).contains("t1")
                    }
                    try await eventually("dead letters") { rig.tail.count(of: rig.topics[.deadLetters]) >= 2 }
                    try await eventually("the misplaced one was written again") {
                        rig.tail.count(of: rig.topics[.receipts]) == 4
                    }
                    let marker = try await rig.accepted(3) { $0.latencyMs = 300 }
                    try await eventually("the marker's attempts") {
                        try marker.allSatisfy { try rig.attempts(of: $0).count == 1 }
                    }
                }
            }
            let letters = rig.tail.records(of: rig.topics[.deadLetters])
            #expect(letters.count == 2, "once, over a restart too")
            #expect(letters.allSatisfy { $0.headers.text(of: RecordHeaderName.deadLetterReason) == "mac" })
            #expect(try rig.events(.challengeConfirmed).map(\.subject) == [challenges[2].sid.rawValue])
            #expect(try rig.attemptsAfterConfirmation(of: challenges[2]).isEmpty)
            #expect(rig.tail.count(of: rig.topics[.receipts]) == 4)
        }
    }

    @Test("records too large for a dead letter are cut, and receipts behind them count")
    func tooLarge() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            var kafka = rig.kafka
            kafka.properties["message.max.bytes"] = "1500000"
            let writer = try KafkaProducer(configuration: kafka, logger: rig.logger)
            @Sendable func bytes(_ count: Int) -> [UInt8] { Array(repeating: 7, count: count) }
            for (key, value, header) in [(10, 400_000, 620_000), (10, 1_000, 1_000_000), (600_000, 10, 0)] {
                _ = try await writer.send(
                    ProducerRecord(
                        topic: rig.topics[.receipts], key: bytes(key), value: bytes(value),
                        headers: [RecordHeader("x", bytes(header))]))
            }
            await writer.close(deadline: .seconds(1))
            try await rig.tracking { _ in
                let challenges = try await rig.accepted(1) { $0.latencyMs = 20_000 }
                _ = try await rig.producer.send(rig.receipt(challenges[0]))
                try await eventually("it is confirmed") {
                    try rig.events(.challengeConfirmed, of: challenges[0]).count == 1
                }
                try await eventually("three dead letters") { rig.tail.count(of: rig.topics[.deadLetters]) == 3 }
            }
            let letters = rig.tail.records(of: rig.topics[.deadLetters])
            #expect(letters.map(\.key.count).sorted() == [10, 10, 1024])
            #expect(letters.map(\.value.count).sorted() == [10, 1_000, 400_000])
        }
    }

    @Test("two trackers come and go: every challenge gets its t1, none twice")
    func rebalance() async throws {
        try await TrackerRig.with(partitions: 4) { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                let writing = Task {
                    try await rig.accepted(300) { challenge in
                        challenge.latencyMs = UInt32.random(in: 500...8_000)
                        challenge.lifeMs = 120_000
                    }
                }
                try await rig.tracking { second in
                    try await eventually("the second has its share") { second.isReady }
                    _ = try await writing.value
                    try await eventually("half of the attempts") { try rig.attempts().count > 150 }
                }
                let challenges = try await writing.value
                try await eventually("all attempts") { try rig.attempts().count >= 300 }
                let units = try rig.attempts().map { "\($0.challengeSid) \($0.dispatchID)" }
                #expect(Set(units).count == units.count, "none twice")
                #expect(Set(units) == Set(challenges.map { "\($0.sid) t1" }))
            }
        }
    }

    @Test("the brokers go and come back: attempts follow, none is written twice, confirmed ones never", .standIn())
    func outage() async throws {
        try await TrackerRig.with(partitions: 2) { rig in
            try await rig.tracking { readiness in
                try await rig.ready(readiness)
                // The brokers are gone before a busy machine has come that far.
                let challenges = try await rig.accepted(40) { $0.latencyMs = 10_000 }
                for challenge in challenges[..<20] { _ = try await rig.producer.send(rig.receipt(challenge)) }
                try rig.broker.inject(.brokerDown(1))
                let overdue = (challenges.map(\.createdAtMs).max() ?? 0) + 11_000
                try await eventually("overdue") { Timestamp.nowMs() > overdue }
                #expect(try rig.attempts().isEmpty)
                try rig.broker.inject(.brokerUp(1))
                try await eventually("attempts", within: .seconds(60)) { try rig.attempts().count >= 20 }
                try await rig.ready(readiness)
                // What comes after is served as before, and nothing more came of the others.
                let later = try await rig.accepted(1)[0]
                try await eventually("a later one") { try rig.attempts(of: later).count == 1 }
                let units = try rig.attempts().map { "\($0.challengeSid) \($0.dispatchID)" }
                #expect(Set(units) == Set((challenges[20...] + [later]).map { "\($0.sid) t1" }))
                #expect(units.count == 21)
            }
        }
    }

    @Test("topics with different numbers of partitions keep it unready, and it still stops")
    func uneven() async throws {
        try await TrackerRig.with(uneven: true) { rig in
            try await rig.tracking { readiness in
                try await eventually("the reason is told") {
                    readiness.reasons[TrackerService.Check.topics]?.contains("same number of partitions") == true
                }
                #expect(!readiness.isReady)
            }
        }
    }

    @Test("commits stay behind the oldest challenge held, so that a third owner finds it")
    func held() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            let old = try await rig.accepted(1) {
                $0.latencyMs = 9_000
                $0.lifeMs = 120_000
            }[0]
            for round in 0..<2 {
                try await rig.tracking { _ in
                    let marker = TrackerRig.Challenge()
                    try await rig.dispatch(marker)
                    try await rig.outcome(.accepted, marker)
                    try await eventually("round \(round)") { try rig.attempts(of: marker).count == 1 }
                }
            }
            try await rig.tracking { _ in
                try await eventually("its t1") { try rig.attempts(of: old) == ["t1"] }
            }
        }
    }
}
