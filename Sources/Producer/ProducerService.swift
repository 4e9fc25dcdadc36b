import ChallengeModel
public import Challenges
public import CoreMetrics
import HTTPEdge
import KafkaClient
import KafkaGroup
public import Logging
public import ServiceLifecycle
public import ServiceSupport
import Synchronization
public import Wire

/// The Producer: HTTP API, Kafka entrances, delivery facts, outbox relay and expiry sweep over one store. HTTP is
/// served from the start, also without Kafka. Relay and entrances start when Kafka has the topics and the four that are
/// keyed by challenge SID have the same number of partitions; until then the readiness check `kafka` names the missing
/// part. A graceful shutdown ends HTTP first (requests in progress are answered), then the entrances (drained and
/// committed), the sweep, the relay, and last the Kafka producer. The store stays open, and its owner closes it.
public final class ProducerService: ServiceLifecycle.Service {
    private let configuration: ProducerConfiguration
    private let store: ChallengeStore
    private let readiness: Readiness
    private let logger: Logger
    private let factory: any MetricsFactory
    private let clock: @Sendable () -> Int64
    private let servers = Mutex<[EdgeServer]>([])
    private let bound = BoundPort()
    private let deviceBound = BoundPort()

    /// - Parameters:
    ///   - readiness: gets the checks `http`, `http-devices`, `kafka`, `store`, `outbox-limit` and the relay's
    ///     `outbox`.
    ///   - clock: epoch milliseconds.
    public init(
        configuration: ProducerConfiguration, store: ChallengeStore, readiness: Readiness, logger: Logger,
        metrics: any MetricsFactory, clock: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) {
        self.configuration = configuration
        self.store = store
        self.readiness = readiness
        self.logger = logger
        factory = metrics
        self.clock = clock
    }

    /// Waits for the port of HTTP; nil when ``run()`` ended before.
    public var boundPort: Int? { get async { try? await bound.wait() } }

    /// Waits for the port of the address for devices; nil when there is none, or ``run()`` ended before.
    public var boundDevicePort: Int? {
        get async { configuration.deviceAPI == nil ? nil : try? await deviceBound.wait() }
    }

    /// Runs until a graceful shutdown or cancellation.
    /// - Throws: when the port cannot be bound, a TLS file cannot be read, or a librdkafka property is refused.
    public func run() async throws {
        defer {
            bound.fail()
            deviceBound.fail()
        }
        readiness.fail("http", "starting")
        readiness.fail("kafka", "starting")
        let metrics = ProducerMetrics(factory: factory)
        let pressure = OutboxPressure()
        var kafka = configuration.kafka
        if let sharing = store.outbox.sharing {
            // What is under way when a lease ends would overtake, or be overtaken by, what its next owner sends.
            let given = kafka.properties["message.timeout.ms"].flatMap { Int64($0) } ?? .max
            kafka.properties["message.timeout.ms"] = String(min(given, sharing.messageTimeout.wholeMilliseconds))
        }
        let producer = try KafkaProducer(configuration: kafka, logger: logger)
        let signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys),
            eventSigner: configuration.eventKeys.map { EventSigner(keys: $0) })
        let kafkaReady = Latch()
        let changes = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let topics = TopicWatch(
            names: configuration.topics,
            topics: Topic.allCases.filter { !$0.isEntrance || configuration.entranceAccount != nil },
            producer: producer, readiness: readiness, check: "kafka", logger: logger
        ) { topic in
            // A topic that was created again is empty, and a dispatcher that starts needs its contents.
            if topic == .configuration { changes.continuation.yield() }
        }
        let watch = ChallengeWatch(
            store: store, bound: configuration.maxLongPolls, logger: logger, metrics: factory, nowMs: clock)
        let refusals = Refusals(store: store, logger: logger, nowMs: clock)
        var api = API(
            store: store, authenticator: Authenticator(store: store, metrics: metrics),
            recordKeys: configuration.recordKeys, pressure: pressure, watch: watch, refusals: refusals,
            metrics: metrics,
            log: StoreLog(logger))
        api.hmsCallback = configuration.hmsCallback
        api.outbound = configuration.outbound
        api.eventSigner = signer.eventSigner
        let listeners = try listeners(api)
        // Nothing is expired or deleted too early because this machine's clock is ahead: other Producers serve the same
        // challenges by clocks that are right.
        let carefulClock: @Sendable () -> Int64 = { [store, clock] in clock() - store.clockAheadMs }
        // Shut down in reverse.
        var services: [any ServiceLifecycle.Service] = [
            closing(producer),
            StoppableWork { [store, readiness, logger, factory, clock, tracer = configuration.tracer] in
                await kafkaReady.wait()
                guard !Task.isCancelled else { return }
                var options = OutboxRelay.Options(sharing: store.outbox.sharing)
                options.isHeld = { !topics.isSafe }
                options.clockAheadMs = { store.clockAheadMs }
                options.tracer = tracer
                await OutboxRelay(
                    store: store.outbox, producer: producer, signer: signer, readiness: readiness, logger: logger,
                    metrics: factory, options: options, nowMs: clock
                ).run()
            },
            StoppableWork { [configuration, store, logger, factory] in
                let sweep = ExpirySweep(
                    store: store, logger: logger, metrics: factory, interval: configuration.sweepInterval,
                    isHeld: { pressure.isHalfFull }, nowMs: carefulClock)
                await StoreWork.$current.withValue(.background) { await sweep.run() }
            },
            StoppableWork { [configuration, store, readiness, logger] in
                await pressure.watch(
                    store: store, limit: configuration.outboxLimit, every: configuration.outboxSampling,
                    readiness: readiness, metrics: metrics, logger: logger)
            },
            StoppableWork { [store, readiness, logger, factory] in
                await StoreWatch(store: store, readiness: readiness, logger: logger, metrics: factory).run()
            },
            StoppableWork { await self.followTopics(topics, producer, changes.stream, opening: kafkaReady) },
            StoppableWork { [configuration] in await refusals.run(every: configuration.refusalInterval) },
            StoppableWork { await self.republish(after: kafkaReady) },
            StoppableWork {
                await self.tellKeysToNarrow()
                // The end of a service would end the Producer.
                await Latch().wait()
            },
        ]
        let deadLetters = DeadLetters(
            producer: producer, signer: signer, log: LimitedLog(logger), count: metrics.deadLetter)
        services += entrances(
            metrics: metrics, pressure: pressure, signer: signer, deadLetters: deadLetters, after: kafkaReady)
        services += listeners
        // Ended before HTTP, which waits for the requests in progress.
        services.append(StoppableWork { await watch.run() })
        let group = ServiceGroup(configuration: .init(services: services, logger: logger))
        do {
            try await group.run()
        } catch {
            await producer.close(deadline: configuration.flushDeadline)
            throw error
        }
        await producer.close(deadline: configuration.flushDeadline)
    }

    /// Reads changed TLS certificates again, without waiting for the next check of their files.
    public func reloadCertificates() async {
        for server in servers.withLock({ $0 }) { await server.reloadCertificate() }
    }

    /// The listeners for one or two addresses. They are shut down in reverse order.
    private func listeners(_ api: API) throws -> [any ServiceLifecycle.Service] {
        let addresses = configuration.deviceAPI == nil ? [false] : [true, false]
        let wanted = configuration.http.edge.maxConnections
        let connections = OpenFiles.bound(atMost: wanted, listeners: addresses.count)
        if connections < wanted {
            logger.warning(
                "the limit of open files allows fewer connections than api.maxConnections: raise it",
                metadata: [
                    "connections": "\(connections)", "wanted": "\(wanted)", "open-files": "\(OpenFiles.limit)",
                ])
        }
        let listeners = try addresses.map { isForDevices in
            try APIListener(
                configuration, isForDevices: isForDevices, connections: connections, api: api, clock: clock,
                readiness: readiness, metrics: factory, logger: logger
            ) { [bound, deviceBound] port in (isForDevices ? deviceBound : bound).set(port) }
        }
        servers.withLock { $0 = listeners.map(\.server) }
        return listeners
    }

    /// The service that is shut down last. It flushes records that other services wrote during their shutdown.
    private func closing(_ producer: KafkaProducer) -> StoppableWork {
        StoppableWork { [configuration] in
            await Latch().wait()
            await producer.close(deadline: configuration.flushDeadline)
        }
    }

    private func entrances(
        metrics: ProducerMetrics, pressure: OutboxPressure, signer: RecordSigner, deadLetters: DeadLetters,
        after kafkaReady: Latch
    ) -> [any ServiceLifecycle.Service] {
        func consumer(
            _ name: String, _ topics: [Topic], group: String, holds: KeyHolds? = nil,
            _ handler: @escaping GroupReader.Handler
        ) -> EntranceService {
            var logger = logger
            logger[metadataKey: "entrance"] = "\(name)"
            return EntranceService(
                reader: GroupReader(
                    topics: topics.map { configuration.topics[$0] },
                    groupID: "\(configuration.topics.prefix)producer-\(group)", kafka: configuration.kafka,
                    maxInFlight: configuration.entranceInFlight, commitEvery: configuration.entranceCommitInterval,
                    holds: holds, logger: logger, gauges: metrics.gauges(entrance: name), handler: handler),
                after: kafkaReady)
        }
        let log = StoreLog(logger)
        let deliveries = DeliveryRecords(
            store: store, intake: RecordIntake(signer: signer, partitions: nil), clock: clock, metrics: metrics,
            log: log)
        let holds = KeyHolds(signer: signer, readiness: readiness, logger: logger, nowMs: clock) {
            metrics.heldPartitions($0)
        }
        let delivery = consumer(
            DeliveryRecords.name, [.outcomes, .receipts], group: DeliveryRecords.name, holds: holds
        ) { record in
            [RecordWork { await LogContext.$current.withValue(LogContext(record)) { await deliveries.handle(record) } }]
        }
        guard let account = configuration.entranceAccount else { return [delivery] }
        let requests = RequestEntrance(
            store: store, deadLetters: deadLetters, account: account, pressure: pressure, clock: clock,
            metrics: metrics, log: log, group: "\(configuration.topics.prefix)producer-requests",
            tracer: configuration.tracer)
        let receipts = ReceiptEntrance(
            store: store, deadLetters: deadLetters, account: account, keys: configuration.recordKeys, clock: clock,
            metrics: metrics, log: log)
        return [
            delivery,
            consumer(RequestEntrance.name, [.requests], group: "requests") { record in [requests.work(record)] },
            consumer(ReceiptEntrance.name, [.receiptRequests], group: "receipt-requests") { record in
                [
                    RecordWork {
                        await LogContext.$current.withValue(LogContext(record)) { await receipts.handle(record) }
                    }
                ]
            },
        ]
    }

    /// Waits until the topics have the expected partitions, then watches them.
    private func followTopics(
        _ topics: TopicWatch, _ producer: KafkaProducer, _ configurationMadeAnew: AsyncStream<Void>,
        opening kafkaReady: Latch
    ) async {
        let names = configuration.topics
        let storeLog = StoreLog(logger)
        let needed = Topic.allCases.filter { !$0.isEntrance || configuration.entranceAccount != nil }
        while !Task.isCancelled {
            if await topics.look() != nil {
                do {
                    // The relay divides its window by these numbers.
                    _ = try await producer.partitionCounts(of: needed.map { names[$0] }, deadline: .seconds(2))
                    try await store.republishConfiguration(nowMs: clock())
                    break
                } catch let error as StoreError {
                    readiness.fail("kafka", "the configuration cannot be published: \(error)")
                    storeLog.error("the configuration cannot be published", error)
                } catch {
                    readiness.fail("kafka", "\(error)")
                    logger.warning("Kafka is not ready", metadata: ["error": "\(error)"])
                }
            }
            try? await Task.sleep(for: configuration.kafkaRetry)
        }
        guard !Task.isCancelled else { return }
        kafkaReady.open()
        await withDiscardingTaskGroup { group in
            group.addTask { await topics.run() }
            group.addTask {
                for await _ in configurationMadeAnew { await self.republish(storeLog) }
            }
        }
    }

    /// Writes the configuration again at intervals. If somebody writes an old record after a newer one, a compacted
    /// topic would keep only the old record for a dispatcher that starts later.
    private func republish(after kafkaReady: Latch) async {
        await kafkaReady.wait()
        let storeLog = StoreLog(logger)
        while !Task.isCancelled {
            try? await Task.sleep(for: configuration.republishInterval)
            guard !Task.isCancelled else { return }
            await republish(storeLog)
        }
    }

    private func republish(_ storeLog: StoreLog) async {
        do { try await store.republishConfiguration(nowMs: clock()) } catch {
            storeLog.error("the configuration cannot be published again", error)
        }
    }

    private func tellKeysToNarrow() async {
        guard let count = try? await store.keysToNarrow(), count > 0 else { return }
        logger.warning(
            """
            API keys of role send+enrol, made before role enrol was split off send, may enrol devices too; beckon key list shows \
            them: give each caller a key of role send or enrol, and revoke the old one
            """, metadata: ["keys": "\(count)"])
    }
}

/// A service that a graceful shutdown ends by cancellation.
private struct StoppableWork: ServiceLifecycle.Service {
    let work: @Sendable () async -> Void

    init(_ work: @escaping @Sendable () async -> Void) {
        self.work = work
    }

    func run() async throws { await cancelWhenGracefulShutdown { await work() } }
}

/// An entrance that waits for Kafka, and leaves its group when it is shut down.
private struct EntranceService: ServiceLifecycle.Service {
    let reader: GroupReader
    let after: Latch

    func run() async throws {
        await cancelWhenGracefulShutdown { await after.wait() }
        guard after.isOpen else { return }
        await withGracefulShutdownHandler {
            await StoreWork.$current.withValue(.background) { await reader.run() }
        } onGracefulShutdown: {
            reader.stop()
        }
    }
}
