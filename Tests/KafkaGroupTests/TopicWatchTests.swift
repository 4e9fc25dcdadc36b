import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import TestSupport
import Testing

@testable import KafkaGroup

@Suite("Topics that change under a running role", .timeLimit(.minutes(5)))
struct TopicWatchTests {
    final class Changes: Sendable { let topics = Mutex<[Topic]>([]) }

    let names = TopicNames(prefix: TestBroker.prefix())
    let readiness = Readiness()
    let changes = Changes()
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func watch() throws -> TopicWatch {
        let kafka = KafkaConfiguration(bootstrapServers: "127.0.0.1:1", isEmbedded: true)
        return TopicWatch(
            names: names, topics: Topic.copartitioned + [.configuration],
            producer: try KafkaProducer(configuration: kafka, logger: logger), readiness: readiness, check: "topics",
            logger: logger, onChange: { [changes] topic in changes.topics.withLock { $0.append(topic) } })
    }

    private func counts(_ partitions: Int, _ change: (inout [Topic: Int]) -> Void = { _ in }) -> [Topic: Int] {
        var counts: [Topic: Int] = [.configuration: 1]
        for topic in Topic.copartitioned { counts[topic] = partitions }
        change(&counts)
        return counts
    }

    @Test("more partitions, of one or of all, stop the work until the number is as it was, and readiness says which")
    func grown() throws {
        let watch = try watch()
        #expect(watch.judge(counts(4), [], .now) == 4 && watch.isSafe && readiness.isReady)
        for grown in [counts(8), counts(4) { $0[.challenges] = 8 }] {
            #expect(watch.judge(grown, [], .now) == nil && !watch.isSafe)
            let reason = readiness.reasons["topics"] ?? ""
            #expect(reason.contains("\(names[.challenges]): 8") && reason.contains("from 4"), "\(reason)")
            #expect(!watch.isConfirmed(since: .now - .seconds(60)))
        }
        #expect(watch.judge(counts(4), [], .now) == 4 && watch.isSafe && readiness.isReady)
    }

    @Test("a topic that is missing is told, and stops nothing; one that was made anew with another number does")
    func missing() throws {
        let watch = try watch()
        _ = watch.judge(counts(4), [], .now)
        #expect(watch.judge(counts(4) { $0[.challenges] = nil }, [.challenges], .now) == nil && watch.isSafe)
        #expect(readiness.reasons["topics"]?.contains(names[.challenges]) == true)
        _ = watch.judge(counts(4) { $0[.challenges] = 2 }, [], .now)
        #expect(!watch.isSafe)
    }

    @Test("configuration that is there again, or has grown, is told to whoever has to write or read it anew")
    func configuration() throws {
        let watch = try watch()
        _ = watch.judge(counts(4), [], .now)
        _ = watch.judge(counts(4) { $0[.configuration] = nil }, [.configuration], .now)
        #expect(changes.topics.withLock { $0 }.isEmpty)
        _ = watch.judge(counts(4), [], .now)
        _ = watch.judge(counts(4) { $0[.configuration] = 2 }, [], .now)
        #expect(changes.topics.withLock { $0 } == [.configuration, .configuration])
    }

    @Test("a role looks until it is stopped, or the topics agree")
    func agreement() async throws {
        let watch = try watch()
        var looks = 0
        let count = await watch.agreement(every: .milliseconds(1)) {
            looks += 1
            return looks < 2
        }
        #expect(count == nil && looks == 2 && readiness.reasons["topics"] != nil)
        let broker = try await TestBroker(
            topics: Dictionary(uniqueKeysWithValues: Topic.copartitioned.map { (names[$0], 3) }))
        let producer = try KafkaProducer(configuration: broker.kafka, logger: logger)
        let agreeing = TopicWatch(
            names: names, topics: Topic.copartitioned, producer: producer, readiness: readiness, check: "topics",
            logger: logger)
        #expect(await agreeing.agreement(every: .milliseconds(10)) == 3)
        await producer.close(deadline: .seconds(1))
        await broker.close()
    }

    @Test("a place is confirmed only by a question that was asked after the record was read")
    func confirmed() throws {
        let watch = try watch()
        let before = ContinuousClock.now
        _ = watch.judge(counts(4), [], before)
        #expect(watch.isConfirmed(since: before) && !watch.isConfirmed(since: before + .nanoseconds(1)))
    }
}
