import AckTracker
import ArgumentParser
import AsyncHTTPClient
import ChallengeModel
import Challenges
import Console
import DeviceKit
import DispatcherWorker
import Foundation
import GuardedHTTP
import KafkaClient
import KafkaGroup
import Logging
import Producer
import PushGateway
import PushProviders
import ServiceLifecycle
import ServiceSupport
import Simulators
import Storage
import UnixSignals
import Webhooks
import Wire

/// All of Beckon in one process: the stand-in broker, SQLite in a temporary folder, the roles, the provider
/// look-alikes.
struct DevCluster: Sendable {
    /// Where everything is, once it runs: the ready file.
    struct Addresses: Sendable, Codable {
        struct Simulated: Sendable, Codable {
            var apns: String
            var fcm: String
            var hms: String
            var control: String
        }

        var api: String
        /// The pages for people.
        var console: String
        var metrics: String
        var kafka: String
        var accountSID: String
        var authToken: String
        var serviceSID: String
        var identity: String
        var simulators: Simulated
        var caFile: String

        enum CodingKeys: String, CodingKey {
            case api, console, metrics, kafka, identity, simulators
            case accountSID = "account_sid"
            case authToken = "auth_token"
            case serviceSID = "service_sid"
            case caFile = "ca_file"
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(api, forKey: .api)
            try container.encode(console, forKey: .console)
            try container.encode(metrics, forKey: .metrics)
            try container.encode(kafka, forKey: .kafka)
            try container.encode(accountSID, forKey: .accountSID)
            try container.encode(authToken, forKey: .authToken)
            try container.encode(serviceSID, forKey: .serviceSID)
            try container.encode(identity, forKey: .identity)
            try container.encode(simulators, forKey: .simulators)
            try container.encode(caFile, forKey: .caFile)
        }
    }

    let logger: Logger
    let kafka: KafkaConfiguration
    let names = TopicNames()
    private let folder: URL
    private let account: AccountCredentials
    private let providers: SimulatedProviders
    private static let callbackUser = "beckon-dev"
    /// A backend under development listens on this machine, without TLS.
    private static let outbound: OutboundRules = {
        var rules = OutboundRules(parsing: "127.0.0.0/8,::1,localhost") ?? OutboundRules()
        rules.allowsClearText = true
        return rules
    }()
    /// Of HMS's delivery receipts.
    private let callbackKey = Base64.encode((0..<32).map { _ in UInt8.random(in: 0...255) })
    private let producer: ProducerService
    private let client: HTTPClient
    private let readiness: Readiness
    /// Those that others need come first.
    private let services: [any ServiceLifecycle.Service]
    private let admin: AdminServer
    private let console: ConsoleService
    /// The phones on the console's page.
    let desk = PhoneDesk()

    /// - Parameters:
    ///   - apiPort, adminPort, consolePort: 0: any free one.
    init(apiPort: Int, adminPort: Int, consolePort: Int = 0, logger: Logger) async throws {
        for (name, port, flag) in [
            ("admin port", adminPort, "--admin-port"), ("HTTP API", apiPort, "--api-port"),
            ("console", consolePort, "--console-port"),
        ] {
            try await ListenAddress(name, host: "127.0.0.1", port: port, hostFlag: flag, portFlag: flag).check()
        }
        self.logger = logger
        folder = FileManager.default.temporaryDirectory.appending(
            path: "beckon-\(UUID().uuidString.prefix(8).lowercased())")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let caFile = folder.appending(path: "ca.crt").path
        let metrics = PrometheusRegistry(MetricCatalogue.everything)
        readiness = Readiness()
        ProcessMetrics.observe(
            in: metrics, role: "dev", version: Beckon.configuration.version, readiness: readiness)
        client = manyConnectionsClient(256)
        let broker = try EmbeddedBroker(topics: names.standIn(partitions: 12), logger: logger)
        var kafka = KafkaConfiguration(bootstrapServers: broker.bootstrapServers, isEmbedded: true)
        // Fetches are most of what an idle process costs. Between a creation and its push there is one record, which the
        // dispatcher reads; nobody waits for what the other roles read.
        kafka.embeddedFetchWaitMs = 40
        // Nobody changes the topics here.
        kafka.watchInterval = .seconds(10)
        self.kafka = kafka
        var relaxed = kafka
        relaxed.embeddedFetchWaitMs = 100
        let recordKeys = KeyRing.random()
        let configurationKeys = KeyRing.random()
        let eventKeys = KeyRing.random(id: "e1")

        let store = try ChallengeStore.sqlite(
            path: folder.appending(path: "beckon.sqlite").path,
            keys: StoreKeys(store: .random(), configuration: configurationKeys),
            // A hundred phones enrol at once here.
            entityCreationsPerSecond: 1000, logger: logger)
        account = try await store.createAccount(nowMs: Timestamp.nowMs())
        providers = try SimulatedProviders(logger: logger)
        try providers.certificates.writePEM(to: caFile)

        var producerConfiguration = ProducerConfiguration(
            kafka: relaxed, topics: names, recordKeys: recordKeys, entranceAccount: account.sid)
        producerConfiguration.port = apiPort
        producerConfiguration.outbound = Self.outbound
        producerConfiguration.eventKeys = eventKeys
        producerConfiguration.hmsCallback = HMSCallbackKeys(parsing: "\(Self.callbackUser):\(callbackKey)")
        producer = ProducerService(
            configuration: producerConfiguration, store: store, readiness: readiness, logger: logger, metrics: metrics)
        admin = AdminServer(host: "127.0.0.1", port: adminPort, readiness: readiness, metrics: metrics, logger: logger)
        let dispatcherConfiguration = DispatcherConfiguration(
            kafka: kafka, topics: names, recordKeys: recordKeys, configurationKeys: configurationKeys)
        // Its gateway has to know where the look-alikes listen.
        readiness.fail("dispatcher", "starting")
        let dispatcher = LateService { [providers, readiness, logger] in
            let addresses = try await providers.addresses()
            var configuration = PushGatewayConfiguration()
            configuration[.apns] = addresses.apnsURL
            configuration[.apnsSandbox] = addresses.apnsURL
            configuration[.fcm] = addresses.fcmURL
            configuration[.fcmToken] = addresses.fcmTokenURL
            configuration[.hms] = addresses.hmsURL
            configuration[.hmsToken] = addresses.hmsTokenURL
            configuration.caFile = caFile
            let service = try DispatcherService(
                configuration: dispatcherConfiguration,
                sender: try PushGateway(configuration: configuration, logger: logger), readiness: readiness,
                logger: logger, metrics: metrics)
            readiness.pass("dispatcher")
            return service
        }
        var trackerConfiguration = TrackerConfiguration(kafka: relaxed, topics: names, recordKeys: recordKeys)
        // Default: 10 ms, which is 100 wake-ups a second.
        trackerConfiguration.tick = .milliseconds(100)
        trackerConfiguration.eventKeys = eventKeys
        let tracker = TrackerService(
            configuration: trackerConfiguration, readiness: readiness, logger: logger, metrics: metrics)
        var webhookConfiguration = WebhookConfiguration(kafka: relaxed, topics: names, recordKeys: recordKeys)
        webhookConfiguration.rules = Self.outbound
        let webhooks = try WebhookRelayService(
            configuration: webhookConfiguration, store: store, readiness: readiness, logger: logger, metrics: metrics)
        console = try ConsoleService(
            ConsoleConfiguration(host: "127.0.0.1", port: consolePort, access: .development), client: client,
            readiness: readiness, metrics: metrics, logger: logger, phones: desk,
            deadLetters: ConsoleDeadLetters(
                archive: DeadLetterArchive(
                    kafka: kafka,
                    signer: RecordSigner(names: names, authenticator: RecordAuthenticator(keys: recordKeys)),
                    logger: logger), kafka: kafka, store: store, account: account.sid, logger: logger
            ).box
        ) { [admin] in ["http://127.0.0.1:\(try await admin.boundPort())/metrics"] }
        services = [
            admin, BrokerService(broker: broker), StoreService(store: store), providers, producer, tracker, dispatcher,
            webhooks, console,
        ]
    }

    /// Gives the console its phones.
    /// - Parameter automatic: the phone that the command runs.
    func openDesk(_ playground: Playground, automatic: SimulatedPhone, of identity: String) async throws {
        try await desk.open(
            PhoneDesk.World(
                backend: playground.backend, serviceSID: playground.serviceSID, pool: playground.pool,
                providers: providers), automatic: automatic, of: identity)
    }

    /// Waits until every role is ready, then makes a service and its credentials.
    func playground() async throws -> Playground {
        let api = try await apiURL()
        let simulators = try await providers.addresses()
        while !readiness.isReady { try await Task.sleep(for: .milliseconds(20)) }
        providers.setReceiptCallback(
            HMSCallback(url: api + "/v2/HmsReceipts", user: Self.callbackUser, key: callbackKey), appID: "*")
        return try await Playground(
            backend: BackendClient(
                apiURL: api, accountSID: account.sid.rawValue, authToken: account.authToken, client: client),
            devices: DeviceClient(apiURL: api, transport: HTTPClientTransport(client)),
            control: simulators.controlURL, reception: providers.network, client: client)
    }

    func addresses(serviceSID: String, identity: String) async throws -> Addresses {
        let simulators = try await providers.addresses()
        return Addresses(
            api: try await apiURL(), console: try await console.url(),
            metrics: "http://127.0.0.1:\(try await admin.boundPort())/metrics",
            kafka: kafka.bootstrapServers, accountSID: account.sid.rawValue, authToken: account.authToken,
            serviceSID: serviceSID, identity: identity,
            simulators: .init(
                apns: simulators.apnsURL, fcm: simulators.fcmURL, hms: simulators.hmsURL,
                control: simulators.controlURL),
            caFile: folder.appending(path: "ca.crt").path)
    }

    /// Runs the services and `body` beside them; ends them when the body returns or throws, or SIGTERM comes.
    func run(_ body: @escaping @Sendable () async throws -> Void) async throws {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .error)
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) }
                + [
                    .init(
                        service: BodyService(body: body), successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup)
                ], gracefulShutdownSignals: [.sigterm, .sigint, .sighup], logger: quiet)
        configuration.maximumGracefulShutdownDuration = .seconds(20)
        let result: Result<Void, any Error>
        do {
            try await ServiceGroup(configuration: configuration).run()
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try? await client.shutdown()
        try? FileManager.default.removeItem(at: folder)
        try result.get()
    }

    private func apiURL() async throws -> String {
        guard let port = await producer.boundPort else {
            // The producer's own error says why, and cancels us.
            try await Task.sleep(for: .seconds(10))
            throw StartError("the HTTP API did not start")
        }
        return "http://127.0.0.1:\(port)"
    }
}

private struct BodyService: ServiceLifecycle.Service {
    let body: @Sendable () async throws -> Void

    func run() async throws {
        try await cancelWhenGracefulShutdown { try await body() }
    }
}

/// A service that can only be made once others run.
private struct LateService: ServiceLifecycle.Service {
    let make: @Sendable () async throws -> any ServiceLifecycle.Service

    func run() async throws { try await make().run() }
}
