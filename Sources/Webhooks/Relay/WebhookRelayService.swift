import ChallengeModel
public import Challenges
public import CoreMetrics
import GuardedHTTP
import KafkaClient
import KafkaGroup
public import Logging
public import ServiceLifecycle
public import ServiceSupport
import Wire

/// The webhook relay: reads topic `events` and posts each event to the webhooks that want it. Any number of relays
/// share one consumer group and one store.
///
/// Every event reaches every webhook at least once, in the order of its subject; a repeat has the same ids. What cannot
/// be delivered at once goes to the store, and the offset goes on.
public final class WebhookRelayService: ServiceLifecycle.Service {
    /// Names of the readiness checks.
    public enum Check {
        /// The topic `events` can be read, and this relay has joined its group.
        public static let partitions = "webhooks-partitions"
    }

    private let configuration: WebhookConfiguration
    private let readiness: Readiness
    private let metrics: WebhookMetrics
    private let client: GuardedClient
    private let producer: KafkaProducer
    private let attempts: AttemptLog
    private let store: ChallengeStore
    private let sender: WebhookSender
    private let reader: GroupReader

    /// - Parameters:
    ///   - store: where subscriptions, secrets and undelivered events are. The caller closes it after ``run()`` has
    ///     ended.
    ///   - readiness: gets the checks in ``Check``, failing until each is met.
    /// - Throws: when a file of the configuration cannot be read, or librdkafka refuses a property.
    public init(
        configuration: WebhookConfiguration, store: ChallengeStore, readiness: Readiness, logger: Logger,
        metrics factory: any MetricsFactory
    ) throws {
        self.configuration = configuration
        self.store = store
        self.readiness = readiness
        let metrics = WebhookMetrics(factory: factory)
        self.metrics = metrics
        client = try GuardedClient(
            rules: configuration.rules, servers: configuration.nameServers ?? NameServers(),
            caFile: configuration.caFile, identity: configuration.clientIdentity, threads: configuration.threads)
        producer = try KafkaProducer(configuration: configuration.kafka, logger: logger)
        let signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys))
        let log = LimitedLog(logger)
        let attempts = AttemptLog(store: store, metrics: metrics) { Timestamp.nowMs() }
        self.attempts = attempts
        let subscriptions = Subscriptions(store: store, kept: configuration.subscriptionsKept) { Timestamp.nowMs() }
        let backlogs = Backlogs()
        let failing = FailingWebhooks()
        sender = WebhookSender(
            configuration: configuration, client: client, attempts: attempts, metrics: metrics, logger: logger)
        let stored = StoredDeliveries(
            store: store, subscriptions: subscriptions, backlogs: backlogs, sender: sender, failing: failing,
            metrics: metrics, readiness: readiness, log: log)
        let fresh = FreshDeliveries(
            relay: RelayParts(
                store: store, subscriptions: subscriptions, backlogs: backlogs, sender: sender, stored: stored,
                intake: RecordIntake(signer: signer, partitions: nil),
                deadLetters: DeadLetters(producer: producer, signer: signer, log: log) { fate, topic, reason in
                    metrics.deadLetter(fate, topic: topic, reason: reason)
                },
                failing: failing, metrics: metrics, log: log))
        reader = GroupReader(
            topics: [configuration.topics[.events]], groupID: configuration.groupID, kafka: configuration.kafka,
            maxInFlight: configuration.maxRecords,
            // A lane behind an endpoint that hangs must not hold its partition.
            mostWaiting: configuration.maxRecords, commitEvery: configuration.commitEvery,
            handOverBound: configuration.handOverBound,
            holds: KeyHolds(signer: signer, readiness: readiness, logger: logger, nowMs: { Timestamp.nowMs() }) {
                metrics.set(.heldPartitions, Double($0))
            },
            companion: stored, logger: logger,
            gauges: GroupReader.Gauges(inFlight: { _ in }, lag: { metrics.set(.lag, Double($0)) }),
            handler: fresh.works)
        readiness.fail(Check.partitions, "starting")
    }

    /// Relays until graceful shutdown or cancellation. Either way it takes no more, waits up to the drain bound for
    /// requests under way, commits what is done and leaves the group.
    public func run() async throws {
        await withTaskCancellationOrGracefulShutdownHandler {
            // Not a child: while a cancelled relay drains, its endpoints still need their clock.
            await Task { await self.serve() }.value
        } onCancelOrGracefulShutdown: {
            self.reader.stop()
        }
        readiness.fail(Check.partitions, "stopped")
        await attempts.flush()
        await producer.close(deadline: configuration.kafka.drainBound)
        await client.close()
    }

    private func serve() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.attempts.run() }
            group.addTask { await self.tick() }
            group.addTask { await self.sweep() }
            await reader.run()
            group.cancelAll()
        }
    }

    private func tick() async {
        var count = 0
        while (try? await Task.sleep(for: .milliseconds(100))) != nil {
            sender.tick()
            count += 1
            if count % 10 == 0 {
                client.prune()
                metrics.alerts(store.takeAlertCounts())
            }
        }
    }

    /// Deletes what is older than its time. Every relay does: a bounded number of rows a minute.
    private func sweep() async {
        while (try? await Task.sleep(for: .seconds(60))) != nil {
            do {
                try await store.sweepWebhooks(nowMs: Timestamp.nowMs(), limit: 10_000)
            } catch {
                metrics.storeRetried()
            }
        }
    }
}
