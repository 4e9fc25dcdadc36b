import Foundation
import KafkaClient
import Logging
import Synchronization
import Testing

@Suite("Batches that a broker refuses for their size", .timeLimit(.minutes(5)))
struct RefusedBatchTests {
    private static let produce: Int16 = 0
    private static let messageTooLarge: Int16 = 10

    private let topic = "t-\(UUID().uuidString)"

    /// A producer that waits for half a second before it sends, so that what a test enqueues at once is one batch.
    private func withProducer(_ body: (EmbeddedBroker, KafkaProducer) async throws -> Void) async throws {
        let broker = try EmbeddedBroker(topics: [topic: 1])
        let kafka = KafkaConfiguration(
            bootstrapServers: broker.bootstrapServers, properties: ["linger.ms": "500"], isEmbedded: true)
        let producer = try KafkaProducer(
            configuration: kafka, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        do { try await body(broker, producer) } catch {
            await producer.close(deadline: .seconds(2))
            await broker.close()
            throw error
        }
        await producer.close(deadline: .seconds(2))
        await broker.close()
    }

    private func record(_ number: Int) -> ProducerRecord {
        ProducerRecord(topic: topic, key: Array("k\(number)".utf8), value: Array(repeating: 7, count: 100))
    }

    /// Enqueues them at once and waits for all reports.
    private func send(_ records: [ProducerRecord], _ producer: KafkaProducer) async -> [Result<
        RecordPosition, KafkaError
    >] {
        await withTaskGroup(of: Result<RecordPosition, KafkaError>.self) { group in
            for record in records {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        producer.enqueue(record) { continuation.resume(returning: $0) }
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test("the records of a refused batch are sent one by one, each is written once, and what follows is written too")
    func split() async throws {
        try await withProducer { broker, producer in
            _ = try await producer.send(record(0))
            try broker.inject(.requestErrors(apiKey: Self.produce, codes: [Self.messageTooLarge]))
            let results = await send((1...50).map(record), producer)
            let offsets = results.compactMap { try? $0.get().offset }
            #expect(Set(offsets) == Set(1...50))
            let after = await send((51...60).map(record), producer).compactMap { try? $0.get().offset }
            #expect(Set(after) == Set(51...60))
        }
    }

    @Test("batch after batch refused: each halving ends, and nothing is lost on the way")
    func repeatedly() async throws {
        try await withProducer { broker, producer in
            _ = try await producer.send(record(0))
            var next = 1
            for _ in 0..<10 {
                try broker.inject(.requestErrors(apiKey: Self.produce, codes: [Self.messageTooLarge]))
                let results = await send((next..<(next + 20)).map(record), producer)
                let offsets = results.compactMap { try? $0.get().offset }
                #expect(Set(offsets) == Set((next..<(next + 20)).map(Int64.init)))
                next += 20
            }
        }
    }

    @Test("a record that is refused alone is reported as too large, and it alone")
    func alone() async throws {
        try await withProducer { broker, producer in
            _ = try await producer.send(record(0))
            try broker.inject(
                .requestErrors(apiKey: Self.produce, codes: [Self.messageTooLarge, Self.messageTooLarge]))
            let results = await send((1...10).map(record), producer)
            let errors = results.compactMap { result -> KafkaError? in
                if case .failure(let error) = result { error } else { nil }
            }
            #expect(errors.count == 1)
            #expect(errors.first?.isTooLarge == true)
            #expect(errors.first?.isRefusal(of: record(1)) == false)
        }
    }

    @Test("a close waits for the records of a batch that is refused meanwhile")
    func closing() async throws {
        try await withProducer { broker, producer in
            _ = try await producer.send(record(0))
            try broker.inject(.requestErrors(apiKey: Self.produce, codes: [Self.messageTooLarge]))
            let written = Mutex(0)
            for number in 1...20 {
                producer.enqueue(record(number)) { result in
                    if case .success = result { written.withLock { $0 += 1 } }
                }
            }
            await producer.close(deadline: .seconds(20))
            #expect(written.withLock { $0 } == 20)
        }
    }
}
