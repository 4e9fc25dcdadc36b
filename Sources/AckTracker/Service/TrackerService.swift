import ChallengeModel
public import CoreMetrics
import KafkaClient
import KafkaGroup
public import Logging
public import ServiceLifecycle
public import ServiceSupport
import Synchronization

/// The ack tracker. It holds every live challenge of its partitions, pushes challenges again that no receipt has
/// confirmed, and tells the backend in time when it needs a fall-back. Any number of trackers share one consumer group.
public final class TrackerService: Service {
    private let configuration: TrackerConfiguration
    private let readiness: Readiness
    private let logger: Logger
    private let metrics: any MetricsFactory
    private let running = Mutex<TrackerRuntime?>(nil)

    /// The current run.
    var current: TrackerRuntime? { running.withLock { $0 } }

    /// - Parameters:
    ///   - readiness: gets the checks of ``Check``.
    public init(
        configuration: TrackerConfiguration, readiness: Readiness, logger: Logger, metrics: any MetricsFactory
    ) {
        self.configuration = configuration
        self.readiness = readiness
        self.logger = logger
        self.metrics = metrics
        for check in [Check.topics, Check.partitions, Check.commits] { readiness.fail(check, "starting") }
    }

    /// Names of the readiness checks.
    public enum Check {
        /// The four topics exist and have the same number of partitions.
        public static let topics = "tracker-topics"
        /// Every assigned partition was read to its end.
        public static let partitions = "tracker-partitions"
        /// The last acknowledged commit is recent enough.
        public static let commits = "tracker-commits"
        /// Events and dead letters can be written.
        public static let events = "tracker-events"
    }

    /// Runs until graceful shutdown or cancellation. In both cases it waits for its outstanding writes (up to the drain
    /// bound), commits the checkpoint and leaves the group.
    /// - Throws: ``KafkaError`` when a client cannot be built, or has failed permanently.
    public func run() async throws {
        var writing = configuration.kafka
        // A delayed write must not reach the log long after its decision.
        if writing.properties["message.timeout.ms"] == nil { writing.properties["message.timeout.ms"] = "5000" }
        let producer = try KafkaProducer(configuration: writing, logger: logger)
        do {
            let topics = TopicWatch(
                names: configuration.topics, topics: Topic.copartitioned, producer: producer, readiness: readiness,
                check: Check.topics, logger: logger)
            while let partitions = try await agreedPartitionCount(topics) {
                let runtime = try TrackerRuntime(
                    configuration: configuration, partitions: partitions, topics: topics, producer: producer,
                    readiness: readiness,
                    logger: logger, metrics: TrackerMetrics(factory: metrics))
                running.withLock { $0 = runtime }
                defer { running.withLock { $0 = nil } }
                guard try await runtime.run() else { break }
                logger.notice(
                    "events can be written again: the tracker joins its group again to write the events that were left")
            }
        } catch {
            await producer.close(deadline: configuration.kafka.drainBound)
            throw error
        }
        await producer.close(deadline: configuration.kafka.drainBound)
    }

    /// Waits until the four topics have the same number of partitions. Nil: the service was stopped before.
    private func agreedPartitionCount(_ topics: TopicWatch) async throws -> Int? {
        return try await withThrowingTaskGroup(of: Int?.self) { group in
            group.addTask { await topics.agreement(every: .milliseconds(500)) }
            group.addTask {
                try? await gracefulShutdown()
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }
}
