import Foundation
import KafkaClient
import Logging
import Synchronization
import TestSupport
import Testing
import Wire

@Suite("Producer and consumer on a broker", .timeLimit(.minutes(5)))
struct BrokerTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let topic = "t-\(UUID().uuidString)"
    let group = "g-\(UUID().uuidString)"

    /// A broker with one topic, and a producer; both ended afterwards.
    func withBroker(
        partitions: Int = 4, _ body: (TestBroker, KafkaConfiguration, KafkaProducer) async throws -> Void
    ) async throws {
        let broker = try await TestBroker(topics: [topic: partitions])
        let kafka = broker.kafka
        let producer = try KafkaProducer(configuration: kafka, logger: logger)
        do { try await body(broker, kafka, producer) } catch {
            await producer.close(deadline: .seconds(2))
            await broker.close()
            throw error
        }
        await producer.close(deadline: .seconds(2))
        await broker.close()
    }

    func record(_ key: String, _ value: String, headers: [RecordHeader] = []) -> ProducerRecord {
        ProducerRecord(topic: topic, key: Array(key.utf8), value: Array(value.utf8), headers: headers)
    }

    @Test("a record acknowledged has a partition by murmur2 and the next offset")
    func acknowledged() async throws {
        try await withBroker { _, _, producer in
            for index in 0..<20 {
                let position = try await producer.send(record("key-\(index)", "v"))
                #expect(
                    position.topicPartition.partition
                        == Murmur2.partition(key: Array("key-\(index)".utf8), partitions: 4))
            }
            let first = try await producer.send(record("same", "1"))
            let second = try await producer.send(record("same", "2"))
            #expect(second.offset == first.offset + 1)
            #expect(try await producer.partitionCounts(of: [topic], deadline: .seconds(60)) == [topic: 4])
        }
    }

    @Test("a partition that does not exist is refused, with headers, without a crash")
    func unknownPartition() async throws {
        try await withBroker { _, _, producer in
            _ = try await producer.partitionCounts(of: [topic], deadline: .seconds(60))
            var bad = record("k", "v", headers: [RecordHeader("a", "b")])
            bad.partition = 9
            let error = await #expect(throws: KafkaError.self) { try await producer.send(bad) }
            #expect(error?.code == "_UNKNOWN_PARTITION")
        }
    }

    @Test(
        "a group member reads everything from the beginning, in order, to the end of each partition, and commits with metadata"
    )
    func consume() async throws {
        try await withBroker { _, kafka, producer in
            for index in 0..<100 {
                _ = try await producer.send(record("k\(index)", "v\(index)", headers: [RecordHeader("h", "x\(index)")]))
            }
            let consumer = try KafkaConsumer(configuration: kafka, groupID: group, topics: [topic], logger: logger)
            var events = consumer.events.makeAsyncIterator()
            let assignment = try await nextAssignment(&events)
            #expect(assignment.partitions.count == 4)
            let committed = try await consumer.committed(assignment.partitions, deadline: .seconds(60))
            #expect(committed.values.allSatisfy { $0 == nil })
            let readers = try await assignment.accept(from: [:])
            var values: Set<String> = []
            var ends: [TopicPartition: Int64] = [:]
            for (partition, reader) in readers {
                var expected: Int64 = 0
                while ends[partition] == nil {
                    for item in try #require(await reader.next(max: 7)) {
                        switch item {
                        case .record(let record):
                            #expect(record.offset == expected)
                            expected += 1
                            values.insert(String(decoding: record.value, as: UTF8.self))
                            #expect(record.headers.text(of: "h")?.hasPrefix("x") == true)
                        case .endOfPartition(let offset):
                            #expect(offset == expected)
                            ends[partition] = offset
                        }
                    }
                }
            }
            #expect(values.count == 100)
            #expect(try await consumer.endOffsets(assignment.partitions, deadline: .seconds(60)) == ends)
            try await consumer.commit(
                ends.mapValues { CommittedOffset(offset: $0, metadata: "o=\($0)") }, deadline: .seconds(60))
            let read = try await consumer.committed(assignment.partitions, deadline: .seconds(60))
            for (partition, end) in ends {
                #expect(read[partition] == CommittedOffset(offset: end, metadata: "o=\(end)"))
            }
            try await leave(consumer, &events)
        }
    }

    @Test("an arrival wakes a waiting reader at once, and a reader that is not asked holds up nobody")
    func wake() async throws {
        try await withBroker(partitions: 2) { _, kafka, producer in
            let consumer = try KafkaConsumer(configuration: kafka, groupID: group, topics: [topic], logger: logger)
            var events = consumer.events.makeAsyncIterator()
            let assignment = try await nextAssignment(&events)
            let readers = try await assignment.accept(from: [:])
            let keys = (0..<100).map { "key-\($0)" }
            let zero = try #require(keys.first { Murmur2.partition(key: Array($0.utf8), partitions: 2) == 0 })
            let one = try #require(keys.first { Murmur2.partition(key: Array($0.utf8), partitions: 2) == 1 })
            for _ in 0..<500 { producer.enqueue(record(zero, String(repeating: "x", count: 1000))) { _ in } }
            let reader = try #require(readers[TopicPartition(topic: topic, partition: 1)])
            var waits: [Duration] = []
            for index in 0..<30 {
                async let read = firstRecord(reader)
                let start = ContinuousClock.now
                _ = try await producer.send(record(one, "\(index)"))
                let value = await read
                #expect(value == "\(index)")
                waits.append(ContinuousClock.now - start)
            }
            let median = waits.sorted()[15].inMilliseconds
            Speed.expect("arrival-wakes-a-reader", ["p50_ms": median], median < 100)
            try await leave(consumer, &events)
        }
    }

    @Test("a cancelled wait returns nil at once")
    func cancelled() async throws {
        try await withBroker(partitions: 1) { _, kafka, _ in
            let consumer = try KafkaConsumer(configuration: kafka, groupID: group, topics: [topic], logger: logger)
            var events = consumer.events.makeAsyncIterator()
            let readers = try await nextAssignment(&events).accept(from: [:])
            let reader = try #require(readers.values.first)
            _ = await reader.next(max: 10)
            let waiting = Task { await reader.next(max: 10) }
            waiting.cancel()
            #expect(await waiting.value == nil)
            try await leave(consumer, &events)
        }
    }

    @Test("a second member gets its share only after the first has drained, and nothing is lost or read past a commit")
    func rebalance() async throws {
        try await withBroker { _, kafka, producer in
            for index in 0..<200 { _ = try await producer.send(record("k\(index)", "v\(index)")) }
            let first = try KafkaConsumer(configuration: kafka, groupID: group, topics: [topic], logger: logger)
            var firstEvents = first.events.makeAsyncIterator()
            let mine = try await nextAssignment(&firstEvents)
            #expect(mine.partitions.count == 4)
            _ = try await mine.accept(from: [:])
            let second = try KafkaConsumer(configuration: kafka, groupID: group, topics: [topic], logger: logger)
            guard case .revoked(let revocation) = try await nextRebalance(&firstEvents) else {
                Issue.record("expected a revocation")
                return
            }
            #expect(revocation.partitions == mine.partitions)
            await revocation.accept()
            // On a busy machine a member can miss an election, and the other has all of it once more: what counts is
            // how it settles.
            let ownership = Ownership()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (name, consumer) in [("first", first), ("second", second)] {
                    group.addTask { try await ownership.follow(consumer, as: name) }
                }
                let until = ContinuousClock.now + .seconds(90)
                while ContinuousClock.now < until {
                    let (left, right) = (ownership.partitions(of: "first"), ownership.partitions(of: "second"))
                    if left.count == 2, right.count == 2, left.isDisjoint(with: right) { break }
                    try await Task.sleep(for: .milliseconds(10))
                }
                let (left, right) = (ownership.partitions(of: "first"), ownership.partitions(of: "second"))
                #expect(left.count == 2 && right.count == 2)
                #expect(left.union(right) == Set(mine.partitions))
                await second.close(deadline: .seconds(10))
                await first.close(deadline: .seconds(10))
                try await group.waitForAll()
            }
        }
    }

    /// Who owns what, from the members' own events.
    final class Ownership: Sendable {
        private let owned = Mutex<[String: Set<TopicPartition>]>([:])

        func partitions(of member: String) -> Set<TopicPartition> { owned.withLock { $0[member] ?? [] } }

        func follow(_ consumer: KafkaConsumer, as member: String) async throws {
            for await event in consumer.events {
                switch event {
                case .assigned(let assignment):
                    _ = try await assignment.accept(from: [:])
                    owned.withLock { $0[member] = Set(assignment.partitions) }
                case .revoked(let revocation), .lost(let revocation):
                    owned.withLock { $0[member] = [] }
                    await revocation.accept()
                case .rewritten: break
                case .fault: break
                }
            }
        }
    }

    @Test("a topic is followed from its beginning without a group")
    func following() async throws {
        try await withBroker(partitions: 3) { _, kafka, producer in
            for index in 0..<30 { _ = try await producer.send(record("k\(index)", "v\(index)")) }
            let consumer = try KafkaConsumer(configuration: kafka, following: [topic], logger: logger)
            var events = consumer.events.makeAsyncIterator()
            let assignment = try await nextAssignment(&events)
            let readers = try await assignment.accept(
                from: Dictionary(uniqueKeysWithValues: assignment.partitions.map { ($0, .beginning) }))
            var count = 0
            for reader in readers.values {
                var isAtEnd = false
                while !isAtEnd {
                    for item in try #require(await reader.next(max: 100)) {
                        switch item {
                        case .record: count += 1
                        case .endOfPartition: isAtEnd = true
                        }
                    }
                }
            }
            #expect(count == 30)
            await consumer.close(deadline: .seconds(5))
        }
    }

    @Test("what is written while the broker is down is acknowledged when it is back", .standIn())
    func outage() async throws {
        try await withBroker { broker, _, producer in
            _ = try await producer.send(record("k", "before"))
            try broker.inject(.brokerDown(1))
            async let pending = producer.send(record("k", "during"))
            try broker.inject(.brokerUp(1))
            let position = try await pending
            #expect(position.offset == 1)
        }
    }

    @Test("after close every call fails with _CLOSED")
    func closed() async throws {
        try await withBroker { _, _, producer in
            await producer.close(deadline: .seconds(1))
            let error = await #expect(throws: KafkaError.self) { try await producer.send(record("k", "v")) }
            #expect(error?.code == "_CLOSED")
        }
    }

    // MARK: -

    func firstRecord(_ reader: PartitionReader) async -> String? {
        while let items = await reader.next(max: 1) {
            if case .record(let record) = items[0] { return String(decoding: record.value, as: UTF8.self) }
        }
        return nil
    }

    func nextRebalance(_ events: inout AsyncStream<ConsumerEvent>.Iterator) async throws -> ConsumerEvent {
        while let event = await events.next(isolation: #isolation) {
            if case .fault = event { continue }
            return event
        }
        throw KafkaError(code: "_END", reason: "the events ended")
    }

    func nextAssignment(_ events: inout AsyncStream<ConsumerEvent>.Iterator) async throws -> Assignment {
        while true {
            switch try await nextRebalance(&events) {
            case .assigned(let assignment): return assignment
            case .revoked(let revocation), .lost(let revocation): await revocation.accept()
            case .rewritten: break
            case .fault: continue
            }
        }
    }

    func leave(_ consumer: KafkaConsumer, _ events: inout AsyncStream<ConsumerEvent>.Iterator) async throws {
        async let closed: Void = consumer.close(deadline: .seconds(10))
        while let event = await events.next(isolation: #isolation) {
            if case .revoked(let revocation) = event { await revocation.accept() }
            if case .lost(let revocation) = event { await revocation.accept() }
        }
        await closed
    }
}
