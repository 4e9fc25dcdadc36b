import Foundation
import KafkaClient
import KafkaGroup
import Logging
import Synchronization
import TestSupport
import Testing

@Suite("What a member does at the events of its group", .timeLimit(.minutes(5)))
struct MembershipTests {
    final class Steps: Sendable {
        private let all = Mutex<[String]>([])
        private let (stream, continuation) = AsyncStream.makeStream(of: Void.self)

        var list: [String] { all.withLock { $0 } }

        func note(_ step: String) {
            all.withLock { $0.append(step) }
            continuation.yield()
        }

        /// Returns when the step was noted.
        func wait(for step: String) async {
            for await _ in stream where list.contains(step) { return }
        }
    }

    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("an assignment begins; a member that leaves ends what it serves before the group is told")
    func order() async throws {
        let topic = "t-\(UUID().uuidString)"
        let broker = try await TestBroker(topics: [topic: 2])
        let consumer = try KafkaConsumer(
            configuration: broker.kafka, groupID: topic, topics: [topic], logger: logger)
        let steps = Steps()
        let running = Task {
            var readers: [TopicPartition: PartitionReader] = [:]
            for await event in consumer.events {
                if let change = event.membershipChange { steps.note(change) }
                try await event.answer(logger: logger) { assignment in
                    readers = try await assignment.accept(from: [:])
                    steps.note("begin \(readers.count)")
                } end: { reason in
                    guard case .revoked = reason, reason.rewritten.isEmpty else { return steps.note("another reason") }
                    // Still ours: a reader of partitions that were handed over has ended.
                    let isOurs = readers.values.allSatisfy { $0.available(max: 0) != nil }
                    steps.note("end, still ours: \(isOurs)")
                }
            }
            steps.note("handed over: \(readers.values.allSatisfy { $0.available(max: 0) == nil })")
        }
        await steps.wait(for: "begin 2")
        await consumer.close(deadline: .seconds(20))
        try await running.value
        #expect(steps.list == ["assigned", "begin 2", "revoked", "end, still ours: true", "handed over: true"])
        await broker.close()
    }

    @Test("only a fault that makes the consumer useless ends the loop")
    func faults() async throws {
        let steps = Steps()
        for isFatal in [false, true] {
            let error = KafkaError(code: "_ALL_BROKERS_DOWN", reason: "", isFatal: isFatal)
            do {
                try await ConsumerEvent.fault(error).answer(logger: logger) { _ in
                    steps.note("begin")
                } end: { _ in
                    steps.note("end")
                }
                #expect(!isFatal)
            } catch {
                #expect(isFatal)
            }
        }
        #expect(steps.list.isEmpty)
    }

    @Test("the group's positions are asked for until the role says no")
    func committed() async throws {
        let consumer = try KafkaConsumer(
            configuration: KafkaConfiguration(bootstrapServers: "127.0.0.1:1", isEmbedded: true), groupID: "g",
            topics: ["t"], logger: logger)
        #expect(try await consumer.committed([], deadline: .zero, logger: logger) { _ in false }.isEmpty)
        let partition = TopicPartition(topic: "t", partition: 0)
        var asked: [Int] = []
        do {
            _ = try await consumer.committed([partition], deadline: .milliseconds(1), logger: logger) { failures in
                asked.append(failures)
                return failures < 2
            }
            Issue.record("nobody can have answered")
        } catch {
            #expect(asked == [0, 1, 2])
        }
        await consumer.close(deadline: .seconds(1))
    }
}
