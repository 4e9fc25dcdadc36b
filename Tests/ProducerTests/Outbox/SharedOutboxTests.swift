import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Logging
import ServiceSupport
import TestSupport
import Testing
import Wire

@testable import Producer
@testable import Storage

@Suite("Relays of several Producers over one PostgreSQL database", .postgres, .timeLimit(.minutes(5)))
struct SharedOutboxTests {
    /// One Producer's part: its connections, its Kafka producer, its relay.
    private struct Relaying: Sendable {
        let engine: PostgresEngine
        let producer: KafkaProducer
        let relay: OutboxRelay

        init(
            _ settings: PostgresSettings, _ kafka: KafkaConfiguration, _ topics: [String], signer: RecordSigner,
            logger: Logger
        ) async throws {
            engine = try PostgresEngine(settings, logger: logger)
            var kafka = kafka
            // A busy machine stands still for longer than leases last in production.
            var options = OutboxRelay.Options(sharing: engine.outbox.sharing)
            options.lease = .seconds(120)
            options.messageTimeout = .seconds(30)
            kafka.properties["message.timeout.ms"] = "\(options.messageTimeout.wholeMilliseconds)"
            producer = try KafkaProducer(configuration: kafka, logger: logger)
            _ = try await producer.partitionCounts(of: topics, deadline: .seconds(60))
            relay = OutboxRelay(
                store: engine.outbox, producer: producer, signer: signer, readiness: Readiness(), logger: logger,
                metrics: CountingMetrics(), options: options)
        }

        func close() async {
            await producer.close(deadline: .seconds(5))
            await engine.close()
        }
    }

    @Test("every record leaves once and in the order of its key, while a second relay comes, goes and comes again")
    func sharedByTwo() async throws {
        let (keys, perKey) = (24, 40)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try await PostgresServer.shared()
        let database = try await server.database()
        let settings = try {
            var settings = try PostgresSettings(url: server.url(database))
            // Two dozen writers and a relay, on a busy machine.
            settings.connections = 8
            settings.acquireDeadline = .seconds(60)
            settings.statementDeadline = .seconds(60)
            settings.requestDeadline = .seconds(120)
            return settings
        }()
        let migrations = try await PostgresMigrations(settings, logger: logger)
        _ = try await migrations.run()
        await migrations.close()
        let names = TopicNames(prefix: TestBroker.prefix())
        let topics = [names[.events], names[.deadLetters]]
        let broker = try await TestBroker(topics: [topics[0]: 4, topics[1]: 1])
        let signer = RecordSigner(names: names, authenticator: RecordAuthenticator(keys: .random()))
        let first = try await Relaying(settings, broker.kafka, topics, signer: signer, logger: logger)
        let engine = first.engine
        try await TopicTail.following([topics[0]], kafka: broker.kafka, logger: logger) { tail in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await first.relay.run() }
                group.addTask {
                    // Each time its lanes are handed over, with rows on their way.
                    for part in 1...3 {
                        let second = try await Relaying(settings, broker.kafka, topics, signer: signer, logger: logger)
                        await withTaskGroup(of: Void.self) { relaying in
                            relaying.addTask { await second.relay.run() }
                            let until = keys * perKey * part / 4
                            while tail.count(of: topics[0]) < until, !Task.isCancelled {
                                try? await Task.sleep(for: .milliseconds(5))
                            }
                            relaying.cancelAll()
                        }
                        await second.close()
                    }
                }
                let writers = Task {
                    try await withThrowingTaskGroup(of: Void.self) { writers in
                        for key in 0..<keys {
                            writers.addTask {
                                for value in 0..<perKey {
                                    try await engine.run(.write) { connection in
                                        try PostgresTransaction(connection: connection).enqueue(
                                            OutboxRecord(
                                                .events, key: "key-\(key)", value: Array("\(value)".utf8),
                                                contentType: .json), nowMs: 0)
                                    }
                                    try await Task.sleep(for: .milliseconds(40))
                                }
                            }
                        }
                        try await writers.waitForAll()
                    }
                }
                try await writers.value
                try await eventually("all records, no rows") {
                    let rows = try await server.sql("SELECT count(*) FROM outbox", in: database)
                    return rows == "0" && tail.count(of: topics[0]) >= keys * perKey
                }
                group.cancelAll()
                try await group.waitForAll()
            }
            let records = tail.records(of: topics[0])
            #expect(records.count == keys * perKey, "each once")
            for (key, records) in Dictionary(grouping: records, by: { String(decoding: $0.key, as: UTF8.self) }) {
                let values = records.map { Int(String(decoding: $0.value, as: UTF8.self)) }
                #expect(values == Array(0..<perKey), "\(key)")
            }
        }
        await first.close()
        #expect(try await server.sql("SELECT count(*) FROM outbox_lanes WHERE owner <> ''", in: database) == "0")
        await broker.close()
    }
}
