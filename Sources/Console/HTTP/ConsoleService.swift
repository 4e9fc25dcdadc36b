public import AsyncHTTPClient
public import HTTPEdge
import HTTPTypes
import HummingbirdCore
public import Logging
public import Metrics
import NIOCore
public import ServiceLifecycle
public import ServiceSupport
import Simulators
import Wire

/// Where the console listens and what it reads.
public struct ConsoleConfiguration: Sendable {
    public var host: String
    /// 0: any free port.
    public var port: Int
    public var tls: TLSFiles?
    public var access: ConsoleAccess
    /// URLs of the pages with the roles' metrics.
    public var targets: [String]
    /// The HTTP API and the key that reads it; nil: the pages that need it say so.
    public var api: (url: String, keySID: String, secret: String)?

    public init(host: String, port: Int, access: ConsoleAccess, targets: [String] = []) {
        self.host = host
        self.port = port
        self.access = access
        self.targets = targets
    }

    /// - Throws: `SettingsError` when a setting is missing or wrong.
    public init(_ settings: Settings) throws(SettingsError) {
        self.init(
            host: try settings(Settings.consoleHost), port: try settings(Settings.consolePort),
            access: try ConsoleAccess(settings),
            targets: (try settings.optional(Settings.consoleTargets) ?? "").split(separator: ",").map {
                String($0.filter { !$0.isWhitespace })
            })
        switch (try settings.optional(Settings.consoleAPIURL), try settings.optional(Settings.consoleAPIKey)) {
        case (let url?, let key?):
            let parts = key.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            api = (url, String(parts[0]), String(parts[1]))
        case (nil, nil): break
        default: throw SettingsError("console.apiUrl and console.apiKey: expected both, or neither")
        }
        switch (try settings.optional(Settings.consoleCertificate), try settings.optional(Settings.consoleKey)) {
        case (let certificate?, let key?): tls = TLSFiles(certificateChain: certificate, privateKey: key)
        case (nil, nil): break
        default:
            throw SettingsError("console.tlsCertificateFile and console.tlsKeyFile: expected both, or neither")
        }
    }
}

/// The console: pages about the whole system for people. It serves HTML that works without script, and reads the other
/// roles' metrics by itself.
public final class ConsoleService: Service {
    private let configuration: ConsoleConfiguration
    private let server: EdgeServer
    private let scraper: MetricsScraper
    private let bound: BoundPort
    private let phones: PhoneDesk?

    /// Reads the certificate, which blocks the thread.
    /// - Parameters:
    ///   - client: reads metrics. The owner shuts it down after this service has stopped.
    ///   - phones: the simulated phones of `beckon dev`; nil: there are none.
    ///   - deadLetters: the topic of dead letters; nil: there is no page for them.
    ///   - targets: the pages with metrics, asked once when the service runs, after those of the configuration.
    public init(
        _ configuration: ConsoleConfiguration, client: HTTPClient, readiness: Readiness, metrics: any MetricsFactory,
        logger: Logger, phones: PhoneDesk? = nil, deadLetters: DeadLetterBox? = nil,
        targets: @escaping @Sendable () async throws -> [String] = { [] }
    ) throws {
        self.configuration = configuration
        self.phones = phones
        let known = configuration.targets
        scraper = MetricsScraper(targets: { known + (try await targets()) }, client: client, logger: logger)
        bound = BoundPort()
        let backend = configuration.api.map {
            BackendClient(
                apiURL: $0.url, accountSID: $0.keySID, authToken: $0.secret, client: client, deadline: .seconds(10))
        }
        let api = ConsoleAPI(client: { backend ?? phones?.backend })
        var routes = OverviewPage(scraper: scraper, isDevelopment: phones != nil).routes
        if let phones { routes += PhonesPage(desk: phones).routes }
        routes += ProvidersPage(scraper: scraper).routes + WorkersPage(scraper: scraper).routes
        routes += ChallengePage(api: api).routes + PersonPage(api: api).routes
        if let deadLetters { routes += DeadLettersPage(box: deadLetters).routes }
        routes += WebhooksPage(api: api, audit: deadLetters?.audit).routes + AuditPage(api: api).routes
        let responder = ConsoleResponder(
            routes: routes, table: PathTable(routes.map(\.path)), access: configuration.access,
            places: routes.compactMap(\.place), nowMs: { Timestamp.nowMs() }, logger: logger)
        var edge = EdgeConfiguration(name: "console", host: configuration.host, port: configuration.port)
        // People and their browsers: six connections each.
        edge.limits.maxConnections = 512
        edge.limits.maxConnectionsPerAddress = 256
        edge.tls = configuration.tls
        var events = EdgeServer.Events()
        readiness.fail("console", "starting")
        events.onBound = { [bound] port in
            readiness.pass("console")
            bound.set(port)
        }
        events.onSaturation = { reason in
            if let reason {
                readiness.fail("console-connections", reason)
            } else {
                readiness.pass("console-connections")
            }
        }
        server = try EdgeServer(edge, metrics: metrics, logger: logger, events: events) {
            (request, writer: consuming ResponseWriter, channel) in
            let (head, body) = await responder.respond(to: request, on: channel)
            try await writer.write(response: head, body: body)
        }
    }

    /// The address of the overview. Waits until the port is open.
    /// - Throws: `CancellationError` when it cannot be opened, or when the waiting task is cancelled.
    public func url() async throws -> String {
        let port = try await bound.wait()
        let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
        return "\(configuration.tls == nil ? "http" : "https")://\(host):\(port)"
    }

    public func run() async throws {
        defer { bound.fail() }
        let address = ListenAddress(
            "console", host: configuration.host, port: configuration.port,
            hostFlag: Settings.consoleHost.description.flag, portFlag: Settings.consolePort.description.flag)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [scraper] in try await scraper.run() }
            if let phones { group.addTask { await phones.run() } }
            defer { group.cancelAll() }
            try await address.run(server)
        }
    }

    /// Reads the certificate again if its files have changed.
    public func reloadCertificate() async { await server.reloadCertificate() }
}

/// Ends the waiting of requests at the graceful shutdown, which would wait for them.
func cancelWhenStopping<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    try await cancelWhenGracefulShutdown(body)
}
