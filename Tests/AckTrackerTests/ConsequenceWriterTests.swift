import ChallengeModel
import CoreMetrics
import KafkaClient
import Synchronization
import TestSupport
import Testing

@testable import AckTracker

@Suite("What follows from reading is written", .timeLimit(.minutes(5)))
struct ConsequenceWriterTests {
    /// Why the broker does not take it, and what ends that.
    enum Obstacle: CaseIterable {
        case down
        case rightNotGranted

        var faults: (begin: EmbeddedBroker.Fault, end: EmbeddedBroker.Fault?) {
            switch self {
            case .down: (.brokerDown(1), .brokerUp(1))
            case .rightNotGranted: (.requestErrors(apiKey: 0, codes: [29]), nil)
            }
        }
    }

    @Test(
        "an event that the broker did not take is written again until it has, and counts as untold until then",
        .standIn(), arguments: Obstacle.allCases)
    func again(_ obstacle: Obstacle) async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            var kafka = rig.kafka
            kafka.properties["message.timeout.ms"] = "1000"
            let producer = try KafkaProducer(configuration: kafka, logger: rig.logger)
            let failures = Failures()
            let writer = ConsequenceWriter(
                signer: rig.signer, producer: producer, clock: TrackerClock(),
                metrics: TrackerMetrics(factory: failures), logger: rig.logger, onRecovery: {})
            let story = FoldStory()
            let partition = TrackedPartition(
                number: 0, policy: .test, start: Positions(), newsFrom: Positions(), leadMs: 0, at: FoldStory.time(0))
            partition.begin(at: FoldStory.time(0))
            for topic in Positions.indices { _ = partition.absorb(topic, [.end(0)], at: FoldStory.time(0)) }
            try rig.broker.inject(obstacle.faults.begin)
            let outcome = TrackedPartition.Item.fact(story.outcome(.accepted), offset: 0, timestampMs: 0)
            writer.write(partition.absorb(1, [outcome], at: FoldStory.time(10)), of: partition)
            try await eventually("the write has failed") { failures.count.load(ordering: .relaxed) >= 1 }
            #expect(partition.outstanding == 1)
            if let end = obstacle.faults.end { try rig.broker.inject(end) }
            try await eventually("it is acknowledged") {
                writer.retry()
                return partition.outstanding == 0
            }
            try await eventually("it is on the log") { rig.tail.count(of: rig.topics[.events]) >= 1 }
            #expect(Set(try rig.events(.challengeDispatched).map(\.subject)) == [story.challenge.rawValue])
            await producer.close(deadline: .seconds(2))
        }
    }

    @Test(
        "what Kafka refuses for good becomes a dead letter, and a refused dead letter is dropped: neither is outstanding"
    )
    func refused() async throws {
        try await TrackerRig.with(partitions: 1) { rig in
            var kafka = rig.kafka
            kafka.properties["message.max.bytes"] = "100000"
            let producer = try KafkaProducer(configuration: kafka, logger: rig.logger)
            let writer = ConsequenceWriter(
                signer: rig.signer, producer: producer, clock: TrackerClock(),
                metrics: TrackerMetrics(factory: rig.metrics), logger: rig.logger,
                onRecovery: {})
            let partition = TrackedPartition(
                number: 0, policy: .test, start: Positions(), newsFrom: Positions(), leadMs: 0, at: FoldStory.time(0))
            func record(key: Int, value: Int) -> ProducerRecord {
                ProducerRecord(
                    topic: rig.topics[.receipts], key: Array(repeating: 65, count: key),
                    value: Array(repeating: 1, count: value))
            }
            let misplaced = record(key: 90_000, value: 20_000)
            let items: [TrackedPartition.Item] = [
                .refused(misplaced, offset: 0), .refused(record(key: 10, value: 200_000), offset: 1),
            ]
            writer.write(partition.absorb(2, items, at: FoldStory.time(0)), of: partition)
            try await eventually("nothing is outstanding") { partition.outstanding == 0 }
            try await eventually("a dead letter") { rig.tail.count(of: rig.topics[.deadLetters]) == 1 }
            let letter = try #require(rig.tail.records(of: rig.topics[.deadLetters]).first)
            #expect(letter.value == misplaced.value)
            #expect(letter.headers.text(of: RecordHeaderName.deadLetterReason) == "refused")
            await producer.close(deadline: .seconds(2))
        }
    }

    /// Counts writes that failed.
    private final class Failures: MetricsFactory {
        let count = Atomic(0)

        func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
            label == TrackerMetricName.writeFailures.rawValue ? Counting(of: self) : NOOPMetricsHandler.instance
        }
        func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
            NOOPMetricsHandler.instance
        }
        func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
            NOOPMetricsHandler.instance
        }
        func destroyCounter(_ handler: any CounterHandler) {}
        func destroyRecorder(_ handler: any RecorderHandler) {}
        func destroyTimer(_ handler: any TimerHandler) {}

        private final class Counting: CounterHandler {
            let failures: Failures
            init(of failures: Failures) { self.failures = failures }
            func increment(by amount: Int64) { failures.count.add(Int(amount), ordering: .relaxed) }
            func reset() {}
        }
    }
}
