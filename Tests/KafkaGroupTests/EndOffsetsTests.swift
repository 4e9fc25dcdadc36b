import KafkaClient
import Logging
import Synchronization
import TestSupport
import Testing

@testable import KafkaGroup

@Suite("Where partitions end", .timeLimit(.minutes(5)))
struct EndOffsetsTests {
    final class Answers: Sendable { let all = Mutex<[EndOffsets.Answer]>([]) }

    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("a number that does not answer is asked alone until it does; nobody is asked twice at once")
    func asking() {
        var asking = Asking()
        #expect(asking.questions(for: [1, 2, 3]) == [[1, 2, 3]])
        #expect(asking.questions(for: [1, 2, 3, 4]) == [[4]])
        asking.answered(2, isAnswering: false)
        asking.answered(1, isAnswering: true)
        asking.answered(3, isAnswering: true)
        #expect(asking.questions(for: [1, 2, 3]) == [[1, 3], [2]])
        asking.answered(1, isAnswering: true)
        asking.answered(3, isAnswering: true)
        #expect(asking.questions(for: [1, 2, 3]) == [[1, 3]], "while 2 is still being asked for")
        for number in Int32(1)...3 { asking.answered(number, isAnswering: true) }
        #expect(asking.questions(for: [1, 2, 3]) == [[1, 2, 3]])
    }

    @Test("a broker that is away answers for none: each number is told so once, and may be asked again")
    func silent() async throws {
        let answers = try await ask([0, 1, 2], of: "127.0.0.1:1", topic: "t", deadline: .milliseconds(50))
        #expect(answers.map(\.number).sorted() == [0, 1, 2])
        #expect(answers.allSatisfy { $0.ends == nil && $0.askedAtMs == 7 })
    }

    @Test(
        "ends are those of the log; a number that has none delays none of the others",
        .standIn("partitions that are not there"))
    func known() async throws {
        let topic = "t-ends"
        let broker = try await TestBroker(topics: [topic: 3])
        let producer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        _ = try await producer.partitionCounts(of: [topic], deadline: .seconds(60))
        for value in UInt8(0)..<2 {
            _ = try await producer.send(ProducerRecord(topic: topic, key: [1], value: [value], partition: 1))
        }
        for numbers: [Int32] in [[0, 1, 2], [1], [0, 1, 2, 9]] {
            let answers = try await ask(numbers, of: broker.bootstrapServers, topic: topic, deadline: .seconds(20))
            #expect(answers.map(\.number).sorted() == numbers)
            for answer in answers {
                let end = answer.ends?[TopicPartition(topic: topic, partition: answer.number)]
                #expect(end == (answer.number == 9 ? nil : answer.number == 1 ? 2 : 0))
            }
        }
        await producer.close(deadline: .seconds(1))
        await broker.close()
    }

    /// The answers to one question, after which the numbers are free again.
    private func ask(
        _ numbers: [Int32], of bootstrap: String, topic: String, deadline: Duration
    ) async throws -> [EndOffsets.Answer] {
        let consumer = try KafkaConsumer(
            configuration: KafkaConfiguration(bootstrapServers: bootstrap, isEmbedded: true), groupID: "g",
            topics: [topic], logger: logger)
        let ends = EndOffsets(consumer: consumer, logger: logger) { 7 }
        let question = try #require(ends.questions(for: numbers).first)
        #expect(question == numbers && ends.questions(for: numbers).isEmpty)
        let answers = Answers()
        await ends.ask(question, together: deadline, alone: deadline) { number in
            [TopicPartition(topic: topic, partition: number)]
        } answered: { answer in
            answers.all.withLock { $0.append(answer) }
        }
        #expect(ends.questions(for: numbers).flatMap { $0 }.sorted() == numbers)
        await consumer.close(deadline: .seconds(1))
        return answers.all.withLock { $0 }
    }
}
