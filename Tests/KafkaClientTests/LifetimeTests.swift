import Foundation
import KafkaClient
import Logging
import Testing

/// A handle of librdkafka keeps its logger for as long as it lives, and so does every thread of it: what a logger holds
/// shows from outside whether they are gone.
private final class Life: Sendable {
    func logger() -> Logger { Logger(label: "life") { _ in Handler(life: self) } }

    private struct Handler: LogHandler {
        let life: Life
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.critical
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {}
    }
}

@Suite("Handles and threads of librdkafka", .timeLimit(.minutes(5)))
struct LifetimeTests {
    private struct Weak { weak var life: Life? }

    /// Waits until nothing holds the logger of `use` any more.
    private func isGone(after use: (Logger) async throws -> Void) async throws {
        let weak = try await lend(to: use)
        while weak.life != nil { try await Task.sleep(for: .milliseconds(10)) }
    }

    private func lend(to use: (Logger) async throws -> Void) async throws -> Weak {
        let life = Life()
        try await use(life.logger())
        return Weak(life: life)
    }

    @Test("a subscription that is refused leaves no handle and no thread behind")
    func refusedSubscription() async throws {
        let kafka = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", isEmbedded: true)
        try await isGone { logger in
            let error = #expect(throws: KafkaError.self) {
                try KafkaConsumer(configuration: kafka, groupID: "g", topics: [""], logger: logger)
            }
            #expect(error?.code == "_INVALID_ARG")
        }
    }

    @Test("what is asked while a client is closed gets an answer, and the handle ends after the last of them")
    func asksDuringClose() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try EmbeddedBroker(topics: [topic: 2])
        try broker.inject(.delay(broker: 1, milliseconds: 30))
        let kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        for round in 0..<12 {
            try await isGone { logger in
                let producer = try KafkaProducer(configuration: kafka, logger: logger)
                let consumer = try KafkaConsumer(
                    configuration: kafka, groupID: "g-\(round)", topics: [topic], logger: logger)
                await withDiscardingTaskGroup { group in
                    for number in 0..<16 {
                        group.addTask {
                            try? await Task.sleep(for: .milliseconds(number * 5))
                            _ = try? await producer.partitionCounts(of: [topic], deadline: .milliseconds(500))
                        }
                        group.addTask {
                            try? await Task.sleep(for: .milliseconds(number * 5))
                            let record = ProducerRecord(topic: topic, key: Array("k".utf8), value: [1])
                            _ = try? await producer.send(record)
                        }
                        group.addTask {
                            try? await Task.sleep(for: .milliseconds(number * 5))
                            _ = try? await consumer.endOffsets(
                                [TopicPartition(topic: topic, partition: 0)], deadline: .milliseconds(500))
                        }
                    }
                    group.addTask {
                        for await event in consumer.events {
                            switch event {
                            case .assigned(let assignment), .rewritten(let assignment):
                                _ = try? await assignment.accept(from: [:])
                            case .revoked(let revocation), .lost(let revocation): await revocation.accept()
                            case .fault: break
                            }
                        }
                    }
                    group.addTask {
                        try? await Task.sleep(for: .milliseconds(30))
                        await producer.close(deadline: .zero)
                    }
                    group.addTask {
                        try? await Task.sleep(for: .milliseconds(30))
                        await consumer.close(deadline: .seconds(5))
                    }
                }
            }
        }
        await broker.close()
    }

    @Test("what is asked of a consumer that was closed is answered with _CLOSED")
    func asksAfterClose() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try EmbeddedBroker(topics: [topic: 2])
        let kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        let partition = TopicPartition(topic: topic, partition: 0)
        let consumer = try KafkaConsumer(
            configuration: kafka, following: [topic], logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
        var events = consumer.events.makeAsyncIterator()
        guard case .assigned(let assignment) = await events.next(isolation: #isolation) else {
            Issue.record("expected an assignment")
            return
        }
        let readers = try await assignment.accept(from: [:])
        await consumer.close(deadline: .seconds(10))
        for reader in readers.values { #expect(await reader.next(max: 1)?.count == nil) }
        for _ in 0..<20 {
            await #expect(throws: KafkaError.self) {
                try await consumer.endOffsets([partition], deadline: .milliseconds(100))
            }
            await #expect(throws: KafkaError.self) {
                try await consumer.committed([partition], deadline: .milliseconds(100))
            }
            await #expect(throws: KafkaError.self) {
                try await consumer.commit([partition: CommittedOffset(offset: 1)], deadline: .milliseconds(100))
            }
            await #expect(throws: KafkaError.self) { try await assignment.accept(from: [:]) }
            await assignment.refuse()
        }
        await broker.close()
    }
}
