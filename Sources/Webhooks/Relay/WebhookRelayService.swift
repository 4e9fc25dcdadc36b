import ChallengeModel
public import Challenges
public import CoreMetrics
import GuardedHTTP
import KafkaClient
import KafkaGroup
public import Logging
public import ServiceLifecycle
public import ServiceSupport
import Synchronization
import Wire

/// The webhook relay: reads topic `events` and posts each event to the webhooks that want it. Any number of relays share one consumer
/// group and one store.
///
/// Every event reaches every webhook at least once, in the order of its subject; a repeat has the same ids. What cannot be delivered
/// at once goes to the store, and the offset goes on.
public final class WebhookRelayService: ServiceLifecycle.Service {
    /// Names of the readiness checks.
    public enum Check {
        /// The topic `events` can be read, and this relay has joined its group.
        public static let partitions = "webhooks-partitions"
    }

    private let configuration: WebhookConfiguration
    private let readiness: Readiness
    private let logger: Logger
    private let metrics: WebhookMetrics
    private let client: GuardedClient
    private let producer: KafkaProducer
    private let attempts: AttemptLog
    private let parts: RelayParts
    private let lanes = Mutex<[EventPartition]>([])
    private let stopped = Latch()

    /// - Parameters:
    ///   - store: where subscriptions, secrets and undelivered events are. The caller closes it after ``run()`` has ended.
    ///   - readiness: gets the checks in ``Check``, failing until each is met.
    /// - Throws: when a file of the configuration cannot be read, or librdkafka refuses a property.
    public init(
        configuration: WebhookConfiguration, store: ChallengeStore, readiness: Readiness, logger: Logger,
        metrics factory: any MetricsFactory
    ) throws {
        self.configuration = configuration
        self.readiness = readiness
        self.logger = logger
        let metrics = WebhookMetrics(factory: factory)
        self.metrics = metrics
        client = try GuardedClient(
            rules: configuration.rules, servers: configuration.nameServers ?? NameServers(),
            caFile: configuration.caFile, threads: configuration.threads)
        producer = try KafkaProducer(configuration: configuration.kafka, logger: logger)
        let signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys))
        let log = LimitedLog(logger)
        attempts = AttemptLog(store: store, metrics: metrics) { Timestamp.nowMs() }
        let subscriptions = Subscriptions(store: store, kept: configuration.subscriptionsKept) { Timestamp.nowMs() }
        let backlogs = Backlogs()
        let failing = FailingWebhooks()
        let sender = WebhookSender(
            configuration: configuration, client: client, attempts: attempts, metrics: metrics, logger: logger)
        parts = RelayParts(
            store: store, subscriptions: subscriptions, backlogs: backlogs, sender: sender,
            stored: StoredDeliveries(
                store: store, subscriptions: subscriptions, backlogs: backlogs, sender: sender, failing: failing,
                metrics: metrics, log: log),
            intake: RecordIntake(signer: signer, partitions: nil),
            holds: KeyHolds(signer: signer, readiness: readiness, logger: logger, nowMs: { Timestamp.nowMs() }) {
                metrics.set(.heldPartitions, Double($0))
            },
            deadLetters: DeadLetters(producer: producer, signer: signer, log: log) { fate, topic, reason in
                metrics.deadLetter(fate, topic: topic, reason: reason)
            },
            slots: Slots(configuration.maxRecords), failing: failing, metrics: metrics, log: log)
        readiness.fail(Check.partitions, "starting")
    }

    /// Relays until graceful shutdown or cancellation. Either way it takes no more, waits up to the drain bound for requests under
    /// way, commits what is done and leaves the group.
    public func run() async throws {
        await withTaskCancellationOrGracefulShutdownHandler {
            // Not a child: a cancelled member would leave its last revocation unanswered and its handle open. `stopped` ends it.
            await Task { await self.serveUntilStopped() }.value
        } onCancelOrGracefulShutdown: {
            self.stopped.open()
        }
        readiness.fail(Check.partitions, "stopped")
        await attempts.flush()
        await producer.close(deadline: configuration.kafka.drainBound)
        await client.close()
    }

    private func serveUntilStopped() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.attempts.run() }
            group.addTask { await self.tick() }
            group.addTask { await self.sweep() }
            while !stopped.isOpen {
                do {
                    let consumer = try KafkaConsumer(
                        configuration: configuration.kafka, groupID: configuration.groupID,
                        topics: [configuration.topics[.events]], logger: logger)
                    await serve(consumer)
                } catch {
                    logger.error("the topic events cannot be read", metadata: ["error": "\(error)"])
                }
                if !stopped.isOpen { _ = await stopped.wait(atMost: .seconds(1)) }
            }
            group.cancelAll()
        }
    }

    private func tick() async {
        var count = 0
        while (try? await Task.sleep(for: .milliseconds(100))) != nil {
            parts.sender.tick()
            count += 1
            if count % 10 == 0 { client.prune() }
        }
    }

    /// Deletes what is older than its time. Every relay does: a bounded number of rows a minute.
    private func sweep() async {
        while (try? await Task.sleep(for: .seconds(60))) != nil {
            do {
                try await parts.store.sweepWebhooks(nowMs: Timestamp.nowMs(), limit: 10_000)
            } catch {
                metrics.storeRetried()
            }
        }
    }

    /// One handle from its first assignment to its end.
    private func serve(_ consumer: KafkaConsumer) async {
        let broken = Latch()
        await withDiscardingTaskGroup { group in
            group.addTask { await self.closeWhenOver(consumer, broken: broken) }
            group.addTask { await self.commitPeriodically(consumer) }
            group.addTask { await consumer.watchLogs() }
            group.addTask { await self.measureLag(consumer) }
            for await event in consumer.events {
                do {
                    try await event.answer(logger: logger) { assignment in
                        try await self.begin(assignment, consumer, &group)
                    } end: { reason in
                        await self.handOver(reason, consumer)
                    }
                } catch {
                    logger.error("an assignment failed", metadata: ["error": "\(error)"])
                    broken.open()
                }
            }
            await handOver(.lost, consumer)
            group.cancelAll()
        }
    }

    private func begin(
        _ assignment: Assignment, _ consumer: KafkaConsumer, _ group: inout DiscardingTaskGroup
    ) async throws {
        // Before the first record: an event must not overtake those of its lane that an earlier owner has stored.
        var isRead = false
        var backoff = Backoff()
        while !isRead {
            do {
                _ = try await parts.stored.refresh()
                isRead = true
            } catch {
                metrics.storeRetried()
                readiness.fail(Check.partitions, "the store does not answer: \(error)")
                guard !stopped.isOpen, await backoff.wait() else { return await assignment.refuse() }
            }
        }
        let starts = assignment.rewritten.map { ($0, StartOffset.beginning) }
        let fresh = try await assignment.accept(from: Dictionary(uniqueKeysWithValues: starts)).values.map {
            EventPartition(reader: $0, relay: parts)
        }
        lanes.withLock { $0 = fresh }
        for lane in fresh { group.addTask { await lane.run() } }
        let numbers = Set(fresh.map(\.topicPartition.partition))
        group.addTask { await self.parts.stored.run(for: numbers) }
        readiness.pass(Check.partitions)
        logger.info("partitions assigned", metadata: ["partitions": "\(numbers.sorted())"])
        if !assignment.rewritten.isEmpty {
            // The group's positions belong to logs that do not exist any more.
            let beginnings = assignment.rewritten.map { ($0, CommittedOffset(offset: 0)) }
            try? await consumer.commit(Dictionary(uniqueKeysWithValues: beginnings), deadline: .seconds(5))
        }
    }

    private func closeWhenOver(_ consumer: KafkaConsumer, broken: Latch) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.stopped.wait() }
            group.addTask { await broken.wait() }
            await group.next()
            group.cancelAll()
        }
        await consumer.close(deadline: configuration.kafka.drainBound + .seconds(8))
    }

    /// Waits for what is under way up to the drain bound, gives up the rest, and commits what is done. After this nothing of these
    /// partitions leaves this relay, so that the next owner's requests come later.
    private func handOver(_ reason: HandOver, _ consumer: KafkaConsumer) async {
        let leaving = lanes.withLock { lanes in
            defer { lanes = [] }
            return lanes
        }
        guard !leaving.isEmpty else { return }
        let isLost = if case .lost = reason { true } else { false }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.parts.stored.stop(within: isLost ? .zero : self.configuration.kafka.drainBound) }
            for lane in leaving where !isLost {
                group.addTask { await lane.drain(atMost: self.configuration.kafka.drainBound) }
            }
        }
        for lane in leaving { lane.abandon() }
        guard !isLost else { return }
        await commit(leaving.filter { !reason.rewritten.contains($0.topicPartition) }, consumer)
    }

    private func commitPeriodically(_ consumer: KafkaConsumer) async {
        while (try? await Task.sleep(for: configuration.commitEvery)) != nil {
            await commit(lanes.withLock { $0 }, consumer)
        }
    }

    private func commit(_ lanes: [EventPartition], _ consumer: KafkaConsumer) async {
        var offsets: [TopicPartition: CommittedOffset] = [:]
        for lane in lanes {
            if let offset = lane.committable { offsets[lane.topicPartition] = CommittedOffset(offset: offset) }
        }
        guard !offsets.isEmpty else { return }
        do {
            try await consumer.commit(offsets, deadline: .seconds(5))
            for lane in lanes { offsets[lane.topicPartition].map { lane.committed($0.offset) } }
        } catch {
            // Normal inside a rebalance: the next commit says more. An event that is sent again has the same ids.
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
        }
    }

    private func measureLag(_ consumer: KafkaConsumer) async {
        while (try? await Task.sleep(for: .seconds(5))) != nil {
            let current = lanes.withLock { $0 }
            guard !current.isEmpty,
                let ends = try? await consumer.endOffsets(current.map(\.topicPartition), deadline: .seconds(1)),
                let committed = try? await consumer.committed(current.map(\.topicPartition), deadline: .seconds(1))
            else { continue }
            var lag: Int64 = 0
            for lane in current {
                let partition = lane.topicPartition
                let done = lane.done ?? committed[partition]??.offset ?? 0
                lag += max(0, (ends[partition] ?? done) - done)
            }
            metrics.set(.lag, Double(lag))
        }
    }
}
