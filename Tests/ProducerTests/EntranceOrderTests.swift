import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import KafkaGroup
import Synchronization
import TestSupport
import Testing

@testable import Producer

/// Records whose values are like `a1`: those of one letter share something. Keeps what was started, in order.
private final class Letters: Sendable {
    private let topic: String
    private let kafka: KafkaConfiguration
    private let writer: KafkaProducer
    private let names = Mutex<[String]>([])

    init() async throws {
        topic = "t-\(UUID().uuidString)"
        kafka = SharedBroker.configuration(try await SharedBroker.broker(topic: topic))
        writer = try KafkaProducer(configuration: kafka, logger: ProducerHarness.logger)
    }

    var started: [String] { names.withLock { $0 } }

    func started(_ letter: Character) -> [String] { started.filter { $0.first == letter } }

    func write(_ names: [String], partition: Int32 = 0) async throws {
        // The stand-in makes the topic now.
        _ = try await writer.partitionCounts(of: [topic], deadline: .seconds(60))
        for name in names {
            _ = try await writer.send(
                ProducerRecord(topic: topic, key: [], value: Array(name.utf8), partition: partition))
        }
    }

    /// Runs a member beside `body`, and stops it.
    /// - Parameter handler: of a name that was started.
    func withMember(
        _ handler: @escaping @Sendable (String) async -> Bool, _ body: @Sendable () async throws -> Void
    ) async throws {
        let metrics = ProducerMetrics(factory: MetricCounts())
        let member = GroupReader(
            topics: [topic], groupID: topic, kafka: kafka, maxInFlight: 64,
            commitEvery: .seconds(600), logger: ProducerHarness.logger, gauges: metrics.gauges(entrance: "requests")
        ) { [self] record in
            let name = String(decoding: record.value, as: UTF8.self)
            let work = RecordWork(order: [String(name.prefix(1))]) { [self] in
                names.withLock { $0.append(name) }
                return await handler(name)
            }
            return [work]
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await member.run() }
            do { try await body() } catch {
                member.stop()
                throw error
            }
            member.stop()
            try await group.waitForAll()
        }
    }

    func close() async { await writer.close(deadline: .seconds(1)) }
}

@Suite("The order of an entrance", .timeLimit(.minutes(10)))
struct EntranceOrderTests {
    @Test("records that share something are done in the order of their offsets, and wait for no others")
    func order() async throws {
        let letters = try await Letters()
        let gate = Latch()
        let numbers = Array(0..<10)
        try await letters.write(numbers.flatMap { ["a\($0)", "b\($0)"] } + ["c0", "d0"])
        try await letters.withMember { name in
            if name == "a0" { await gate.wait() }
            return true
        } _: {
            try await becomesTrue("all others are done") { letters.started.count >= 13 }
            #expect(letters.started("a") == ["a0"])
            gate.open()
            try await becomesTrue("all are done") { letters.started.count == 22 }
        }
        #expect(letters.started("a") == numbers.map { "a\($0)" })
        #expect(letters.started("b") == numbers.map { "b\($0)" })
        await letters.close()
    }

    @Test("what is given up lets nothing behind it go first: the next member does both in order")
    func givenUp() async throws {
        let letters = try await Letters()
        try await letters.write(["a0", "a1", "b0"])
        try await letters.withMember { name in
            guard name == "a0" else { return true }
            // Until the drain has run into its bound.
            try? await Task.sleep(for: .seconds(3600))
            return false
        } _: {
            try await becomesTrue("the other is done") { letters.started.contains("b0") }
        }
        #expect(letters.started("a") == ["a0"])
        try await letters.withMember { _ in
            true
        } _: {
            try await becomesTrue("both are done") { letters.started("a").count == 3 }
        }
        #expect(letters.started("a") == ["a0", "a0", "a1"])
        await letters.close()
    }

    @Test("a crowd that waits for one record takes no place from other partitions")
    func crowd() async throws {
        let letters = try await Letters()
        let gate = Latch()
        try await letters.write((0..<200).map { "a\($0)" }, partition: 1)
        try await letters.withMember { name in
            if name == "a0" { await gate.wait() }
            return true
        } _: {
            try await becomesTrue("the first is under way") { letters.started.count == 1 }
            try await letters.write((0..<100).map { "b\($0)" }, partition: 2)
            try await becomesTrue("the other partition is done") { letters.started("b").count == 100 }
            #expect(letters.started("a") == ["a0"])
            gate.open()
            try await becomesTrue("all are done") { letters.started.count == 300 }
        }
        #expect(letters.started("a") == (0..<200).map { "a\($0)" })
        await letters.close()
    }

    @Test("requests share their id, and their action within identity and service; a rejected one its id")
    func shared() {
        let account = AccountSID.generate(nowMs: 0)
        func order(_ id: String, _ action: String = "", _ change: (inout ChallengeRequest) -> Void = { _ in })
            -> Set<String>
        {
            var request = ChallengeRequest()
            request.requestID = id
            request.serviceSid = "VA" + String(repeating: "1", count: 32)
            request.identity = "user-0001"
            request.message = "m"
            request.actionKey = action
            change(&request)
            let reading = RequestReading(
                value: request.protobufBytes(), contentType: nil, timestampMs: 1, traceparent: nil, account: account,
                nowMs: 1)
            return Set(reading.order)
        }
        func share(_ one: Set<String>, _ other: Set<String>) -> Bool { !one.isDisjoint(with: other) }
        #expect(share(order("1"), order("1") { $0.identity = "user-0002" }))
        #expect(share(order("1"), order("1", "k")))
        #expect(share(order("1"), order("1") { $0.message = "" }), "against a rule")
        #expect(!share(order("1"), order("2")))
        #expect(!share(order("1"), order("1") { $0.serviceSid = "VA" + String(repeating: "2", count: 32) }))
        #expect(share(order("1", "k"), order("2", "k")))
        #expect(share(order("1", "k"), order("2", "k") { $0.identity = "USER-0001" }), "one person")
        #expect(!share(order("1", "k"), order("2", "l")))
        #expect(!share(order("1", "k"), order("2", "k") { $0.identity = "user-0002" }))
        #expect(
            !share(order("1", "k"), order("2", "k") { $0.serviceSid = "VA" + String(repeating: "2", count: 32) }))
    }

    @Test("requests of one action supersede each other in the order of their offsets")
    func actions() async throws {
        try await ProducerHarness.run(entrances: true, limits: .none) { producer in
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            let writer = try KafkaProducer(configuration: producer.kafka, logger: ProducerHarness.logger)
            let topic = producer.names[.events]
            try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                // Side by side, so that they come in few batches; the offsets say in which order.
                let offsets = try await withThrowingTaskGroup(of: (Int64, String).self) { group in
                    for number in 0..<40 {
                        var request = ChallengeRequest()
                        request.requestID = "r-\(number)"
                        request.serviceSid = service.components(separatedBy: "/").last ?? ""
                        request.identity = "user-0001"
                        request.message = request.requestID
                        request.actionKey = "attempt"
                        let (id, value) = (request.requestID, request.protobufBytes())
                        group.addTask {
                            let record = ProducerRecord(
                                topic: producer.names[.requests], key: Array("user-0001".utf8), value: value)
                            return (try await writer.send(record).offset, id)
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                let ids = offsets.sorted { $0.0 < $1.0 }.map(\.1)
                @Sendable func told(_ type: EventType) throws -> [String] {
                    try tail.records(of: topic).map { try CloudEvent(json: $0.value) }
                        .filter { $0.type == "beckon." + type.rawValue }.sorted {
                            UInt64($0.sequence) ?? 0 < UInt64($1.sequence) ?? 0
                        }
                        .compactMap { if case .string(let id) = $0.data["request_id"] { id } else { nil } }
                }
                try await becomesTrue("all are told") {
                    try told(.challengeCreated).count + told(.challengeSuperseded).count >= 2 * ids.count - 1
                }
                let made = try told(.challengeCreated)
                #expect(made == ids)
                let superseded = try told(.challengeSuperseded)
                #expect(superseded == ids.dropLast())
            }
            await writer.close(deadline: .seconds(1))
        }
    }
}
