import ChallengeModel
import Foundation
import KafkaClient
import KafkaGroup
public import Logging
public import Metrics
import PushGateway
import PushProviders
public import ServiceLifecycle
public import ServiceSupport
import Synchronization
import Wire

/// The dispatcher. It reads `challenges`, pushes them, and records the results on `outcomes` before the offset moves.
/// Any number of dispatchers share the partitions.
/// One task decides (`control`): it answers rebalances, commits, and starts and ends lanes, one after the other, so
/// that no commit is in progress while a partition is handed over. One lane per partition does the work.
public final class DispatcherService: Service {
    let configuration: DispatcherConfiguration
    let sender: any PushSending
    let readiness: Readiness
    let logger: Logger
    let metrics: DispatcherMetrics
    let signer: RecordSigner
    let producer: KafkaProducer
    let window: ProcessWindow
    let fence: CommitFence
    let holds: KeyHolds
    let topics: TopicWatch
    /// Fired when `configuration` has another number of partitions, or is there again.
    let configurationChanged = ArrivalSignal()
    let clock = ClockWatch()
    private let clockLog: LimitedLog
    let beat = Beat()
    /// The writer's name in this dispatcher's outcomes: this text and a number per lane.
    let instance = UUID().uuidString.lowercased().prefix(8)

    /// Wakes the control loop.
    let signal = ArrivalSignal()
    let mailbox = Mutex(Mailbox())
    let lanes = Mutex<[Int32: Lane]>([:])
    let consumer = Mutex<KafkaConsumer?>(nil)
    private let lastTurnMs = Atomic(Int64(0))

    /// What has come in for the control loop. The events are bounded by the consumer: it tells of no second rebalance
    /// before the first is answered.
    struct Mailbox {
        var events: [ConsumerEvent] = []
        var hasEnded = false
        var isConfigurationRead = false
        var isStopping = false
        /// A commit is on its way.
        var isCommitting = false
        /// The last one was refused: the next goes at once.
        var isCommitDue = false

        mutating func takeCommitDue() -> Bool {
            defer { isCommitDue = false }
            return isCommitDue
        }
    }

    /// Names in ``Readiness``.
    public enum Check {
        /// Kafka answers, and the four topics have the same number of partitions.
        public static let topics = "dispatcher-topics"
        /// `configuration` was read completely.
        public static let configuration = "dispatcher-configuration"
        /// The dispatcher's partitions are assigned, complete and caught up.
        public static let partitions = "dispatcher-partitions"
        /// The provider credentials on `configuration` can be read, because the dispatcher has their record keys and
        /// configuration keys.
        public static let credentials = "dispatcher-credentials"
        /// This machine's clock agrees with those of the providers, or of the other roles.
        public static let clock = "dispatcher-clock"
        /// The broker acknowledges the dispatcher's commits.
        public static let commits = "dispatcher-commits"
    }

    /// - Parameters:
    ///   - sender: the gateway. ``run()`` takes it over and closes it at its end.
    ///   - readiness: gets the checks in ``Check``, failing until each is met.
    /// - Throws: `KafkaError` for a Kafka property that librdkafka refuses. No connection is opened yet.
    public init(
        configuration: DispatcherConfiguration, sender: any PushSending, readiness: Readiness, logger: Logger,
        metrics: any MetricsFactory
    ) throws {
        self.configuration = configuration
        self.sender = sender
        self.readiness = readiness
        self.logger = logger
        clockLog = LimitedLog(logger, every: .seconds(60))
        let own = DispatcherMetrics(factory: metrics)
        self.metrics = own
        signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys))
        producer = try KafkaProducer(configuration: configuration.producerKafka, logger: logger)
        window = ProcessWindow(
            maxPushes: configuration.maxPushesPerProcess, maxBytes: configuration.maxBytesPerProcess)
        fence = CommitFence(freshFor: configuration.commitFreshness) { Moment.now().steadyMs }
        holds = KeyHolds(
            signer: signer, readiness: readiness, logger: logger, nowMs: { Moment.now().epochMs }
        ) { own.set(.heldPartitions, Double($0)) }
        topics = TopicWatch(
            names: configuration.topics, topics: Topic.copartitioned + [.configuration], producer: producer,
            readiness: readiness, check: Check.topics, logger: logger
        ) { [configurationChanged] topic in if topic == .configuration { configurationChanged.fire() } }
        for check in [Check.topics, Check.configuration, Check.partitions] { readiness.fail(check, "starting") }
    }

    /// Dispatches until stopped. On graceful shutdown it takes no more records, waits for pushes in flight up to the
    /// drain bound, records the rest as unknown, commits and leaves the group. On cancellation it stops immediately:
    /// the next owner of a partition repeats pushes without an outcome.
    /// - Throws: ``DispatcherError`` when it makes no progress or its Kafka client has failed permanently.
    public func run() async throws {
        do {
            try await withGracefulShutdownHandler {
                try await withThrowingDiscardingTaskGroup { group in
                    touch()
                    group.addTask { await self.tick() }
                    group.addTask { try await self.watch() }
                    try await control(&group)
                    group.cancelAll()
                }
            } onGracefulShutdown: {
                self.mailbox.withLock { $0.isStopping = true }
                self.signal.fire()
            }
        } catch {
            await close()
            throw error
        }
        await close()
    }

    /// After everything else, also when cancelled.
    private func close() async {
        readiness.fail(Check.partitions, "stopped")
        if let consumer = consumer.withLock({ $0.take() }) { await consumer.close(deadline: .seconds(5)) }
        await producer.close(deadline: Task.isCancelled ? .zero : .seconds(2))
        await sender.close(deadline: Task.isCancelled ? .zero : configuration.drainBound)
    }

    // MARK: - Beside the control loop

    /// The control loop has turned, or made a step in something long.
    func touch() { lastTurnMs.store(Moment.now().steadyMs, ordering: .relaxed) }

    /// Wakes everybody ten times a second, because timers are looked at then; a lane without work twice.
    private func tick() async {
        var count = 0
        var told = PushGatewayStatistics()
        while (try? await Task.sleep(for: .milliseconds(100))) != nil {
            for lane in lanes.withLock({ Array($0.values) }) where count % 5 == 0 || !lane.status.isQuiet {
                lane.tick()
            }
            signal.fire()
            count += 1
            if count % 10 == 0 {
                show()
                let statistics = sender.statistics
                metrics.transport(statistics, since: told)
                told = statistics
            }
        }
    }

    private func show() {
        let now = Moment.now()
        let lanes = lanes.withLock { Array($0.values) }
        let oldest = lanes.compactMap { $0.status.oldestUnsentMs }.filter { $0 > 0 }.min()
        metrics.set(.oldestUnsent, oldest.map { Double(max(0, now.epochMs - $0)) / 1000 } ?? 0)
        metrics.set(.lanes, Double(lanes.count { $0.status.isServing }))
        metrics.set(.inFlight, Double(window.pushes))
        showClock(now)
        metrics.set(.partitionsExpected, Double(topics.partitions ?? 0))
        metrics.set(.commitAge, lanes.isEmpty ? 0 : Double(fence.ageMs(atMs: now.steadyMs) ?? 0) / 1000)
        if !lanes.isEmpty, let complaint = fence.complaint(atMs: now.steadyMs, consequence: "pushes are held") {
            readiness.fail(Check.commits, complaint)
        } else {
            readiness.pass(Check.commits)
        }
    }

    private func showClock(_ now: Moment) {
        metrics.set(.clockSkew, Double(clock.verdict(now: now)?.skewMs ?? 0) / 1000)
        guard let complaint = clock.complaint(now: now) else { return readiness.pass(Check.clock) }
        readiness.fail(Check.clock, complaint)
        clockLog.error("the clock is wrong", metadata: ["reason": "\(complaint)"])
    }

    private func watch() async throws {
        let watchdog = Watchdog(boundMs: configuration.watchdogBound.wholeMilliseconds)
        let interval = configuration.watchdogBound / 10
        var lastMs = Moment.now().steadyMs
        var wasLate = false
        while (try? await Task.sleep(for: interval)) != nil {
            let now = Moment.now().steadyMs
            // The whole process stood still, and the loops have not had their turn yet. Once: where all is always late
            // one loop may hang.
            wasLate = !wasLate && now - lastMs > interval.wholeMilliseconds * 3
            lastMs = now
            guard !wasLate else { continue }
            let sight = Watchdog.Sight(
                controlMs: now - lastTurnMs.load(ordering: .relaxed),
                pollMs: consumer.withLock { $0 }?.pollAge.wholeMilliseconds ?? 0,
                lanes: lanes.withLock { Array($0.values) }.map { lane in
                    let status = lane.status
                    return Watchdog.Sight.Lane(
                        partition: lane.partition, turnMs: now - status.lastTurnSteadyMs,
                        oldestSentMs: status.oldestSentSteadyMs.map { now - $0 })
                })
            guard let what = watchdog.verdict(sight) else { continue }
            logger.critical("the dispatcher makes no progress and ends", metadata: ["what": "\(what)"])
            throw DispatcherError.stalled(what)
        }
    }
}
