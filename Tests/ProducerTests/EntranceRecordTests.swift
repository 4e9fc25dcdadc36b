import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import KafkaGroup
import ServiceSupport
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Producer

/// Records that cannot be used, and members that come and go.
extension EntranceTests {
    @Test("records that a broker took and that are too large for a dead letter are cut, and the entrances go on")
    func tooLarge() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            var kafka = producer.kafka
            kafka.properties["message.max.bytes"] = "1500000"
            let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
            @Sendable func bytes(_ count: Int) -> [UInt8] { Array(repeating: 7, count: count) }
            for topic in [Topic.requests, .receiptRequests] {
                for (key, value, header) in [(10, 400_000, 620_000), (10, 1_000, 1_000_000), (600_000, 10, 0)] {
                    _ = try await writer.send(
                        ProducerRecord(
                            topic: producer.names[topic], key: bytes(key), value: bytes(value),
                            headers: [RecordHeader("x", bytes(header))]))
                }
            }
            _ = try await writer.send(record(request("behind", service).protobufBytes(), producer))
            await writer.close(deadline: .seconds(1))
            try await becomesTrue("each is a dead letter") {
                ["requests", "receipt-requests"].allSatisfy {
                    producer.metrics.count(.entranceRecords, [("entrance", $0), ("result", "dead-letter")]) == 3
                }
            }
            try await becomesTrue("the request behind them") { try await challenges(producer, phone).count == 1 }
            let letters = producer.names[.deadLetters]
            try await TopicTail.following([letters], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("all are there") { tail.count(of: letters) == 6 }
                let found = tail.records(of: letters)
                #expect(found.filter { $0.value == bytes(400_000) && $0.headers.value(of: "x") == nil }.count == 2)
                #expect(found.filter { $0.key == bytes(1024) && $0.headers.value(of: "x") == [] }.count == 2)
            }
        }
    }

    @Test("a record that dead letters refuse for good is dropped and counted, and holds nothing up")
    func refused() async throws {
        try await ProducerHarness.run { producer in
            var kafka = producer.kafka
            kafka.properties["message.max.bytes"] = "100000"
            let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
            let metrics = MetricCounts()
            let letters = DeadLetters(
                producer: writer,
                signer: RecordSigner(names: producer.names, authenticator: RecordAuthenticator(keys: producer.keys)),
                log: LimitedLog(ProducerHarness.logger), count: ProducerMetrics(factory: metrics).deadLetter)
            let record = ConsumedRecord(
                topicPartition: TopicPartition(topic: producer.names[.requests], partition: 0), offset: 0,
                timestampMs: 1,
                key: [], value: Array(repeating: 7, count: 200_000), headers: [])
            #expect(await letters.send(record, reason: "json", detail: ""))
            #expect(metrics.count(.deadLettersRefused, [("topic", "requests")]) == 1)
            #expect(metrics.count(.deadLetters, [("topic", "requests"), ("reason", "json")]) == 0)
            await writer.close(deadline: .seconds(1))
        }
    }

    @Test("the lag is what is not done, also of what was not taken, and of a partition where nothing was read")
    func lag() async throws {
        let topic = "t-\(UUID().uuidString)"
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: topic))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let counts = MetricCounts()
        let mayGo = Latch()
        func member(name: String, until latch: Latch) -> GroupReader {
            GroupReader(
                topics: [topic], groupID: topic, kafka: kafka, maxInFlight: 8,
                commitEvery: .milliseconds(100), logger: ProducerHarness.logger,
                gauges: ProducerMetrics(factory: counts).gauges(entrance: name)
            ) { _ in
                let work = RecordWork {
                    await latch.wait()
                    return latch.isOpen
                }
                return [work]
            }
        }
        @Sendable func lag(_ name: String) -> Double? { counts.measured(.entranceLag, [("entrance", name)]) }
        for index in 0..<100 {
            _ = try await writer.send(ProducerRecord(topic: topic, key: Array("k\(index)".utf8), value: [1]))
        }
        let first = member(name: "first", until: mayGo)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await first.run() }
            try await becomesTrue("nothing is done") { lag("first") == 100 }
            mayGo.open()
            try await becomesTrue("all is done") { lag("first") == 0 }
            first.stop()
            try await group.waitForAll()
        }
        // Records in one partition; of the others only the former's commits are known.
        let held = Latch()
        let second = member(name: "second", until: held)
        for _ in 0..<5 {
            _ = try await writer.send(ProducerRecord(topic: topic, key: Array("k".utf8), value: [1]))
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await second.run() }
            try await becomesTrue("five are not done") { lag("second") == 5 }
            held.open()
            try await becomesTrue("all is done") { lag("second") == 0 }
            second.stop()
            try await group.waitForAll()
        }
        await writer.close(deadline: .seconds(1))
    }

    @Test("a record under a key that is not here holds its partition, uncommitted, until a member has the key")
    func unknownKey() async throws {
        let names = TopicNames(prefix: "t\(UUID().uuidString).")
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: names[.receipts]))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let (ours, other) = (KeyRing.random(id: "k1"), KeyRing.random(id: "k2"))
        let handled = Mutex<[String]>([])
        let readiness = Readiness()
        func signer(_ keys: KeyRing) -> RecordSigner {
            RecordSigner(names: names, authenticator: RecordAuthenticator(keys: keys))
        }
        func member(_ keys: KeyRing) -> GroupReader {
            GroupReader(
                topics: [names[.receipts]], groupID: names.prefix, kafka: kafka, maxInFlight: 8,
                commitEvery: .milliseconds(50),
                holds: KeyHolds(
                    signer: signer(keys), readiness: readiness, logger: ProducerHarness.logger,
                    nowMs: { Timestamp.nowMs() }
                ) { _ in },
                logger: ProducerHarness.logger,
                gauges: ProducerMetrics(factory: MetricCounts()).gauges(entrance: "delivery")
            ) { record in
                let work = RecordWork {
                    handled.withLock { $0.append(String(decoding: record.value, as: UTF8.self)) }
                    return true
                }
                return [work]
            }
        }
        func send(_ value: String, by keys: KeyRing) async throws {
            _ = try await writer.send(signer(keys).record(.receipts, key: "one", value: Array(value.utf8)))
        }
        try await send("before", by: ours)
        try await send("strange", by: other)
        try await send("behind", by: ours)
        for (keys, expected) in [
            (ours, ["before"]), (KeyRing(keys: ours.keys + other.keys), ["before", "strange", "behind"]),
        ] {
            let member = member(keys)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await member.run() }
                if keys.keys.count == 1 {
                    try await becomesTrue("held") { readiness.reasons[KeyHolds.check]?.contains("k2") == true }
                }
                try await becomesTrue("read as far as it can be") { handled.withLock { $0 } == expected }
                member.stop()
                try await group.waitForAll()
            }
            // Also when it leaves: the partition is another's then.
            #expect(readiness.isReady)
        }
        await writer.close(deadline: .seconds(1))
    }

    @Test(
        "a revocation drains and commits: a second member takes over and repeats nothing; what is not done is not committed"
    )
    func rebalance() async throws {
        let topic = "t-\(UUID().uuidString)"
        let kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: topic))
        let writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
        let metrics = ProducerMetrics(factory: MetricCounts())
        let handled = Mutex<[String: Int]>([:])
        func member(_ handler: @escaping @Sendable (ConsumedRecord) async -> Bool) -> GroupReader {
            GroupReader(
                topics: [topic], groupID: topic, kafka: kafka, maxInFlight: 8,
                commitEvery: .seconds(600), logger: ProducerHarness.logger, gauges: metrics.gauges(entrance: "requests")
            ) { record in [RecordWork { await handler(record) }] }
        }
        let count: @Sendable (ConsumedRecord) async -> Bool = { record in
            handled.withLock { $0["\(record.topicPartition) \(record.offset)", default: 0] += 1 }
            return true
        }
        func write(_ range: Range<Int>) async throws {
            for index in range {
                _ = try await writer.send(
                    ProducerRecord(topic: topic, key: Array("k\(index)".utf8), value: Array("v".utf8)))
            }
        }
        try await write(0..<100)
        let first = member(count)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await first.run() }
            try await becomesTrue("the first has read all") { handled.withLock { $0.count == 100 } }
            // Its only commit is that of the revocation.
            first.stop()
            try await group.waitForAll()
        }
        try await write(100..<200)
        // One that never finishes: its partition's commit stays in front of it, and the drain bound ends the wait.
        let stuck = Mutex<String?>(nil)
        let second = member { record in
            let name = "\(record.topicPartition) \(record.offset)"
            let isStuck = stuck.withLock { stuck in
                if stuck == nil { stuck = name }
                return stuck == name
            }
            if isStuck {
                try? await Task.sleep(for: .seconds(3600))
                return false
            }
            return await count(record)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await second.run() }
            try await becomesTrue("the second has read all but one") { handled.withLock { $0.count == 199 } }
            second.stop()
            try await group.waitForAll()
        }
        let third = member(count)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await third.run() }
            try await becomesTrue("the stuck one is read again") { handled.withLock { $0.count == 200 } }
            third.stop()
            try await group.waitForAll()
        }
        let name = try #require(stuck.withLock { $0 })
        let partition = try #require(name.split(separator: " ").first)
        let repeats = handled.withLock { $0.filter { $0.value > 1 }.keys }
        #expect(repeats.allSatisfy { $0.hasPrefix(partition) }, "only behind the one that was not done")
        #expect(handled.withLock { $0[name] } == 1)
        await writer.close(deadline: .seconds(1))
    }
}
