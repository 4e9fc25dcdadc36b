import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
import Logging
import ServiceLifecycle
import ServiceSupport
import Synchronization

/// One run of the tracker: consumer, partitions owned, ticker, committer.
final class TrackerRuntime: Sendable {
    struct State {
        var partitions: [Int32: TrackedPartition] = [:]
        /// True between an assignment and its end, when the partitions may be used.
        var isAssigned = false
        var latencies: LatencyModel
        var latenciesChanged = false
    }

    private enum End {
        case stopped
        case recovered
        case failed(any Error)
    }

    let configuration: TrackerConfiguration
    /// Of each of the four topics.
    let partitions: Int
    let reader: RecordReader
    let consumer: KafkaConsumer
    let producer: KafkaProducer
    let writer: ConsequenceWriter
    let readiness: Readiness
    let logger: Logger
    /// The log for refused records, because a forger can send any number.
    let refusals: LimitedLog
    let metrics: TrackerMetrics
    let holds: KeyHolds
    let topics: TopicWatch
    let clock = TrackerClock()
    let fence: CommitFence
    let ends: EndOffsets
    let state: Mutex<State>
    /// Signals that the unwritten events of silent partitions can be written. The next run writes them.
    private let recoveries: AsyncStream<Void>
    /// Held while readiness is determined and reported.
    let showing = Mutex(())

    init(
        configuration: TrackerConfiguration, partitions: Int, topics: TopicWatch, producer: KafkaProducer,
        readiness: Readiness,
        logger: Logger, metrics: TrackerMetrics
    ) throws {
        self.configuration = configuration
        self.partitions = partitions
        fence = CommitFence(freshFor: configuration.kafka.ownershipFence) { [clock] in clock.now().localMs }
        self.producer = producer
        self.topics = topics
        self.readiness = readiness
        self.logger = logger
        refusals = LimitedLog(logger)
        self.metrics = metrics
        let signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys),
            eventSigner: configuration.eventKeys.map { EventSigner(keys: $0) })
        reader = RecordReader(intake: RecordIntake(signer: signer, partitions: partitions))
        holds = KeyHolds(
            signer: signer, readiness: readiness, logger: logger, nowMs: { [clock] in clock.now().wallMs }
        ) { metrics.heldPartitions.record($0) }
        let (recoveries, recovery) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.recoveries = recoveries
        writer = ConsequenceWriter(
            signer: signer, producer: producer, clock: clock, metrics: metrics, logger: logger,
            tracer: configuration.tracer
        ) { recovery.yield() }
        state = Mutex(State(latencies: LatencyModel(policy: configuration.policy)))
        consumer = try KafkaConsumer(
            configuration: configuration.kafka, groupID: configuration.groupID,
            topics: Topic.copartitioned.map { configuration.topics[$0] }, logger: logger)
        ends = EndOffsets(consumer: consumer, logger: logger) { [clock] in clock.now().localMs }
    }

    /// - Returns: true when another run must follow at once.
    func run() async throws -> Bool {
        // Rebalances are answered until the end, also while this task is being cancelled, because the last revocation
        // is part of closing. The task ends with the consumer's events.
        let rebalances = Task { try await followRebalances() }
        let end = await withTaskGroup(of: End.self) { group in
            group.addTask {
                await self.tick()
                return .stopped
            }
            group.addTask {
                await self.commitRegularly()
                return .stopped
            }
            group.addTask {
                await self.consumer.watchLogs()
                return .stopped
            }
            group.addTask {
                await self.topics.run()
                return .stopped
            }
            group.addTask {
                for await _ in self.recoveries { return .recovered }
                return .stopped
            }
            group.addTask {
                try? await gracefulShutdown()
                return .stopped
            }
            group.addTask {
                // Waits without forwarding a cancellation.
                await withTaskCancellationOrValue(of: rebalances).map { .failed($0) } ?? .stopped
            }
            let first = await group.next() ?? .stopped
            group.cancelAll()
            return first
        }
        await consumer.close(deadline: configuration.kafka.drainBound * 2 + .seconds(5))
        let ended = await rebalances.result
        for check in [TrackerService.Check.partitions, TrackerService.Check.commits] {
            readiness.fail(check, "stopped")
        }
        if case .failed(let error) = end { throw error }
        if case .failure(let error) = ended { throw error }
        if case .recovered = end { return true }
        return false
    }

    /// Nothing fires while the fence is closed, nor while the topics have another number of partitions than at the
    /// start.
    var mayFire: Bool { topics.isSafe && fence.isOpen(atMs: clock.now().localMs) }

    /// The partitions owned, in order.
    var owned: [TrackedPartition] {
        state.withLock { state in
            state.isAssigned ? state.partitions.values.sorted { $0.number < $1.number } : []
        }
    }

    func topicPartitions(of partition: TrackedPartition, topics: Range<Int>) -> [TopicPartition] {
        topics.map {
            TopicPartition(topic: configuration.topics[Topic.copartitioned[$0]], partition: partition.number)
        }
    }
}

/// The error a task ends with, or nil as soon as the caller is cancelled.
private func withTaskCancellationOrValue(of task: Task<Void, any Error>) async -> (any Error)? {
    let (stream, continuation) = AsyncStream<(any Error)?>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let waiter = Task {
        if case .failure(let error) = await task.result { continuation.yield(error) }
        continuation.finish()
    }
    defer { waiter.cancel() }
    for await error in stream { return error }
    return nil
}
