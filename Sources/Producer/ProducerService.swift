public import ChallengeModel
public import ChallengeStore
public import CoreMetrics
import HTTPEdge
import Hummingbird
import KafkaClient
public import Logging
public import ServiceLifecycle
public import ServiceSupport
import Synchronization

/// The Producer: HTTP API, Kafka entrances, what became of pushes, outbox relay and expiry sweep over one store.
///
/// HTTP is served from the start, also without Kafka. Relay and entrances start when Kafka has the topics and the four that
/// are keyed by challenge SID have the same number of partitions; until then readiness check `kafka` says what is missing.
/// A graceful shutdown ends HTTP first (requests under way are answered), then the entrances (drained and committed), the sweep,
/// the relay, and last the Kafka producer. The store stays open: it is its owner's to close.
public final class ProducerService: ServiceLifecycle.Service {
    private let configuration: ProducerConfiguration
    private let store: any ChallengeStore
    private let readiness: Readiness
    private let logger: Logger
    private let factory: any MetricsFactory
    private let clock: @Sendable () -> Int64
    private let bound = BoundPort()
    private let deviceBound = BoundPort()

    /// - Parameters:
    ///   - readiness: checks `http`, `http-devices`, `kafka`, `outbox-limit` and the relay's `outbox` are kept in it.
    ///   - clock: epoch milliseconds.
    public init(
        configuration: ProducerConfiguration, store: any ChallengeStore, readiness: Readiness, logger: Logger,
        metrics: any MetricsFactory, clock: @escaping @Sendable () -> Int64 = { Timestamp.nowMs() }
    ) {
        self.configuration = configuration
        self.store = store
        self.readiness = readiness
        self.logger = logger
        factory = metrics
        self.clock = clock
    }

    /// The port that HTTP listens on, once it does; nil when ``run()`` ended before.
    public var boundPort: Int? { get async { await bound.value } }

    /// The port of the address for devices; nil when there is none, or ``run()`` ended before.
    public var boundDevicePort: Int? { get async { configuration.deviceAPI == nil ? nil : await deviceBound.value } }

    /// Until shut down gracefully or cancelled.
    /// - Throws: when the port cannot be bound, a TLS file cannot be read, or a librdkafka property is refused.
    public func run() async throws {
        defer {
            bound.resolve(nil)
            deviceBound.resolve(nil)
        }
        readiness.fail("http", "starting")
        readiness.fail("kafka", "starting")
        let metrics = ProducerMetrics(factory: factory)
        let pressure = OutboxPressure()
        let producer = try KafkaProducer(configuration: configuration.kafka, logger: logger)
        let signer = RecordSigner(
            names: configuration.topics, authenticator: RecordAuthenticator(keys: configuration.recordKeys))
        let kafkaReady = Latch()
        let watch = ChallengeWatch(
            store: store, bound: configuration.maxLongPolls, logger: logger, metrics: factory, nowMs: clock)
        var api = API(
            store: store, authenticator: Authenticator(store: store, metrics: metrics),
            recordKeys: configuration.recordKeys, pressure: pressure, watch: watch, metrics: metrics, logger: logger)
        api.hmsCallback = configuration.hmsCallback
        let listeners = try listeners(api, metrics: metrics)
        // Shut down in reverse.
        var services: [any ServiceLifecycle.Service] = [
            closing(producer),
            StoppableWork { [store, readiness, logger, factory, clock] in
                await kafkaReady.wait()
                guard !Task.isCancelled else { return }
                await OutboxRelay(
                    store: store, producer: producer, signer: signer, readiness: readiness, logger: logger,
                    metrics: factory, nowMs: clock
                ).run()
            },
            StoppableWork { [configuration, store, logger, factory, clock] in
                await ExpirySweep(
                    store: store, logger: logger, metrics: factory, interval: configuration.sweepInterval,
                    isHeld: { pressure.isHalfFull }, nowMs: clock
                ).run()
            },
            StoppableWork { [configuration, store, readiness, logger] in
                await pressure.watch(
                    store: store, limit: configuration.outboxLimit, every: configuration.outboxSampling,
                    readiness: readiness, metrics: metrics, logger: logger)
            },
            StoppableWork { await self.awaitKafka(producer, opening: kafkaReady) },
        ]
        let deadLetters = DeadLetters(producer: producer, signer: signer, metrics: metrics, log: LimitedLog(logger))
        services += entrances(
            metrics: metrics, pressure: pressure, signer: signer, deadLetters: deadLetters, after: kafkaReady)
        services += listeners
        // Ended before HTTP, which waits for the requests under way.
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

    /// One address or two, and what follows their certificates.
    private func listeners(_ api: API, metrics: ProducerMetrics) throws -> [any ServiceLifecycle.Service] {
        var services: [any ServiceLifecycle.Service] = []
        let wanted = configuration.http.maxConnections
        let connections = OpenFiles.bound(atMost: wanted, listeners: configuration.deviceAPI == nil ? 1 : 2)
        if connections < wanted {
            logger.warning(
                "fewer connections than api.maxConnections: raise the limit of open files",
                metadata: [
                    "connections": "\(connections)", "wanted": "\(wanted)", "open-files": "\(OpenFiles.limit)",
                ])
        }
        func listen(
            host: String, port: Int, tls: ProducerConfiguration.TLSFiles?, publicURL: String?, isForDevices: Bool,
            onBound: @escaping @Sendable (Int) -> Void
        ) throws {
            let certificate = try tls.map { try ServerCertificate($0) }
            let scheme = certificate == nil ? "http" : "https"
            let view = ClientView(
                publicURL: publicURL, scheme: scheme, fallbackURL: "\(scheme)://\(host):\(port)",
                proxies: configuration.trustedProxies)
            let responder = APIResponder(
                api: api, limits: configuration.http, view: view, cors: CORS(origins: configuration.corsOrigins),
                isForDevices: isForDevices, clock: clock, metrics: metrics, logger: logger)
            if let certificate {
                services.append(
                    StoppableWork { [configuration, logger] in
                        await certificate.follow(every: configuration.certificateInterval, logger: logger)
                    })
            }
            let check = isForDevices ? "http-devices-connections" : "http-connections"
            let book = ConnectionBook(
                listener: isForDevices ? "devices" : "api",
                bounds: .init(connections: connections, perClient: configuration.http.maxConnectionsPerAddress),
                proxies: configuration.trustedProxies, metrics: factory
            ) { [readiness] reason in
                if let reason { readiness.fail(check, reason) } else { readiness.pass(check) }
            }
            services.append(
                HTTPServer.service(
                    responder: responder,
                    listener: HTTPListener(
                        name: isForDevices ? "device API" : "HTTP API",
                        flag: (isForDevices ? Settings.deviceAPIPort.description : Settings.apiPort.description).flag,
                        host: host, port: port,
                        certificate: certificate),
                    limits: configuration.http, book: book, logger: logger, onBound: onBound))
        }
        if let device = configuration.deviceAPI {
            readiness.fail("http-devices", "starting")
            try listen(
                host: device.host, port: device.port, tls: device.tls, publicURL: device.publicURL, isForDevices: true
            ) { [readiness, deviceBound] port in
                readiness.pass("http-devices")
                deviceBound.resolve(port)
            }
        }
        try listen(
            host: configuration.host, port: configuration.port, tls: configuration.tls,
            publicURL: configuration.publicURL, isForDevices: false
        ) { [readiness, bound] port in
            readiness.pass("http")
            bound.resolve(port)
        }
        return services
    }

    /// The last to be shut down: what others have written on their way out is flushed here.
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
            _ name: String, _ topics: [Topic], group: String, _ handler: @escaping EntranceConsumer.Handler
        ) -> EntranceService {
            EntranceService(
                consumer: EntranceConsumer(
                    name: name, topics: topics.map { configuration.topics[$0] },
                    groupID: "\(configuration.topics.prefix)producer-\(group)", kafka: configuration.kafka,
                    maxInFlight: configuration.entranceInFlight, commitEvery: configuration.entranceCommitInterval,
                    logger: logger, metrics: metrics, handler: handler),
                after: kafkaReady)
        }
        let deliveries = DeliveryRecords(
            store: store, signer: signer, clock: clock, metrics: metrics, logger: logger)
        let delivery = consumer(
            DeliveryRecords.name, [.outcomes, .receipts], group: DeliveryRecords.name
        ) { record in EntranceWork { await deliveries.handle(record) } }
        guard let account = configuration.entranceAccount else { return [delivery] }
        let requests = RequestEntrance(
            store: store, deadLetters: deadLetters, account: account, pressure: pressure, clock: clock,
            metrics: metrics, logger: logger)
        let receipts = ReceiptEntrance(
            store: store, deadLetters: deadLetters, account: account, keys: configuration.recordKeys, clock: clock,
            metrics: metrics, logger: logger)
        return [
            delivery, consumer(RequestEntrance.name, [.requests], group: "requests", requests.work),
            consumer(ReceiptEntrance.name, [.receiptRequests], group: "receipt-requests") { record in
                EntranceWork { await receipts.handle(record) }
            },
        ]
    }

    /// Asks for the partition counts until they are there and right.
    private func awaitKafka(_ producer: KafkaProducer, opening kafkaReady: Latch) async {
        let names = configuration.topics
        let needed = Topic.allCases.filter { !$0.isEntrance || configuration.entranceAccount != nil }
        while !Task.isCancelled {
            do {
                let counts = try await producer.partitionCounts(of: needed.map { names[$0] }, deadline: .seconds(2))
                if let difference = Self.difference(counts, names) {
                    readiness.fail("kafka", difference)
                    logger.error("the topics are not as they must be", metadata: ["reason": "\(difference)"])
                } else {
                    try await store.republishConfiguration(nowMs: clock())
                    readiness.pass("kafka")
                    kafkaReady.open()
                    await Latch().wait()
                    return
                }
            } catch {
                readiness.fail("kafka", "\(error)")
                logger.warning("Kafka is not ready", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: configuration.kafkaRetry)
        }
    }

    /// Nil when the four topics keyed by challenge SID have the same number of partitions.
    static func difference(_ counts: [String: Int], _ names: TopicNames) -> String? {
        let four = Topic.copartitioned.map { (name: names[$0], count: counts[names[$0]] ?? 0) }
        guard Set(four.map(\.count)).count > 1 else { return nil }
        return "expected one number of partitions for all of: "
            + four.map { "\($0.name) \($0.count)" }.joined(separator: ", ")
    }
}

/// Work that ends by cancellation, as a service that a graceful shutdown cancels.
private struct StoppableWork: ServiceLifecycle.Service {
    let work: @Sendable () async -> Void

    init(_ work: @escaping @Sendable () async -> Void) {
        self.work = work
    }

    func run() async throws { await cancelWhenGracefulShutdown { await work() } }
}

/// An entrance that waits for Kafka, and leaves its group when it is shut down.
private struct EntranceService: ServiceLifecycle.Service {
    let consumer: EntranceConsumer
    let after: Latch

    func run() async throws {
        await cancelWhenGracefulShutdown { await after.wait() }
        guard after.isOpen else { return }
        await withGracefulShutdownHandler {
            await consumer.run()
        } onGracefulShutdown: {
            consumer.stop()
        }
    }
}
