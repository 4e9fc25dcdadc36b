import Foundation
import KafkaClient
import KafkaGroup
import Logging
import Synchronization
import TestSupport
import Testing

@Suite("Records that are done one by one", .timeLimit(.minutes(5)))
struct GroupReaderTests {
    /// Notes the steps of an assignment; it is ready at its third try.
    final class Companion: AssignmentCompanion {
        private let notes = Mutex<[String]>([])
        private let stopped = Latch()

        var list: [String] { notes.withLock { $0 } }
        func note(_ step: String) { notes.withLock { $0.append(step) } }

        func prepare() async -> Bool {
            note("prepare")
            return list.count == 3
        }

        func begin(_ partitions: Set<TopicPartition>) -> @Sendable () async -> Void {
            note("begin \(partitions.count)")
            return {
                await self.stopped.wait()
                self.note("ended")
            }
        }

        func stop(within deadline: Duration) async {
            note("stop")
            stopped.open()
        }
    }

    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("a record is done when all of its works are, and a work waits only for those it shares something with")
    func works() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try await TestBroker(topics: [topic: 1])
        let started = Mutex<[String]>([])
        let gate = Latch()
        let lag = Mutex<Int64?>(nil)
        // Each word of a record is a work, and its first letter is what it shares.
        let reader = GroupReader(
            topics: [topic], groupID: topic, kafka: broker.kafka, maxInFlight: 8, mostWaiting: 8,
            commitEvery: .milliseconds(50), logger: logger,
            gauges: GroupReader.Gauges(inFlight: { _ in }, lag: { records in lag.withLock { $0 = records } })
        ) { record in
            String(decoding: record.value, as: UTF8.self).split(separator: " ").map { word in
                RecordWork(order: [String(word.prefix(1))]) {
                    started.withLock { $0.append(String(word)) }
                    guard word == "b0" else { return true }
                    await gate.wait()
                    return gate.isOpen
                }
            }
        }
        let writer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        for value in ["a0 b0", "", "b1 a1", "c2 a2"] {
            _ = try await writer.send(ProducerRecord(topic: topic, key: [], value: Array(value.utf8)))
        }
        let running = Task { await reader.run() }
        try await becomesTrue("every work but that behind b0 has started") { started.withLock { $0.count } == 5 }
        #expect(started.withLock { $0.filter { $0.hasPrefix("a") } } == ["a0", "a1", "a2"])
        #expect(!started.withLock { $0.contains("b1") })
        // Nothing is done: the first record has a work under way.
        try await becomesTrue("the lag is known") { lag.withLock { $0 } == 4 }
        gate.open()
        try await becomesTrue("all is done") { lag.withLock { $0 } == 0 }
        #expect(started.withLock { $0.last } == "b1")
        reader.stop()
        await running.value
        await writer.close(deadline: .seconds(1))
        await broker.close()
    }

    @Test("a companion is ready before the first record is read, and stops before the partitions are handed over")
    func companion() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try await TestBroker(topics: [topic: 2])
        let writer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        _ = try await writer.send(ProducerRecord(topic: topic, key: [], value: [1]))
        let companion = Companion()
        let reader = GroupReader(
            topics: [topic], groupID: topic, kafka: broker.kafka, maxInFlight: 8, commitEvery: .milliseconds(50),
            companion: companion, logger: logger, gauges: GroupReader.Gauges(inFlight: { _ in }, lag: { _ in })
        ) { _ in
            [
                RecordWork {
                    companion.note("record")
                    return true
                }
            ]
        }
        let running = Task { await reader.run() }
        try await becomesTrue("the record is done") { companion.list.contains("record") }
        reader.stop()
        await running.value
        let steps = companion.list
        #expect(steps.prefix(4) == ["prepare", "prepare", "prepare", "begin 2"])
        #expect(steps.dropFirst(4).prefix(2) == ["record", "stop"])
        #expect(steps.contains("ended"))
        await writer.close(deadline: .seconds(1))
        await broker.close()
    }
}

/// Waits for a condition; the suite's time limit ends it.
private func becomesTrue(_ what: String, _ condition: @Sendable () -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(60)
    while !condition() {
        guard ContinuousClock.now < end else { throw NeverTrue(what: what) }
        try await Task.sleep(for: .milliseconds(10))
    }
}

private struct NeverTrue: Error {
    let what: String
}
