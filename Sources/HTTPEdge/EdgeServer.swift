public import HummingbirdCore
public import Logging
public import Metrics
public import NIOCore
import NIOPosix
import NIOSSL
public import ServiceLifecycle

/// What a role sets about one of its listeners.
public struct EdgeConfiguration: Sendable {
    /// The label `listener` of the metrics: `api`, `devices`, `admin`.
    public var name: String
    public var host: String
    /// 0 to 65,535; 0: any free port.
    public var port: Int
    public var limits = EdgeLimits()
    /// Proxies whose `X-Forwarded-*` headers are believed. Default: none.
    public var proxies = TrustedProxies()
    /// Nil, the default: plain HTTP.
    public var tls: TLSFiles?
    /// How often the certificate's files are checked for a renewal; default 5 s.
    public var certificateInterval: Duration = .seconds(5)

    public init(name: String, host: String, port: Int) {
        self.name = name
        self.host = host
        self.port = port
    }
}

/// A listener of HTTP/1.1: the API's, the one for devices, the admin port's. All of them have the same bounds on connections,
/// deadlines, checks of RFC 9112 and certificates that are read again, and differ in what they answer.
public final class EdgeServer: Service {
    /// What a listener tells its role.
    public struct Events: Sendable {
        /// The socket is open; gets its port.
        public var onBound: @Sendable (Int) -> Void = { _ in }
        /// A reason when the listener begins to refuse connections, nil when that is over. See ``ConnectionBook``.
        public var onSaturation: @Sendable (String?) -> Void = { _ in }
        /// What is answered to a request that is refused before `respond` gets it; called on an event loop.
        public var refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply = HTTPRefusalReply.text

        public init() {}
    }

    private let configuration: EdgeConfiguration
    private let events: Events
    private let respond: HTTPChannelHandler.Responder
    private let certificate: ServerCertificate?
    private let book: ConnectionBook
    private let logger: Logger

    /// Reads the certificate; blocks for as long as that takes.
    /// - Parameter respond: writes the whole reply to a request. `Date` and `Connection` are added.
    /// - Throws: an error that names the TLS file that cannot be read.
    public init(
        _ configuration: EdgeConfiguration, metrics: any MetricsFactory, logger: Logger, events: Events = .init(),
        respond: @escaping HTTPChannelHandler.Responder
    ) throws {
        self.configuration = configuration
        self.events = events
        self.respond = respond
        self.logger = logger
        certificate = try configuration.tls.map { try ServerCertificate($0) }
        book = ConnectionBook(
            listener: configuration.name,
            bounds: .init(
                connections: configuration.limits.maxConnections,
                perClient: configuration.limits.maxConnectionsPerAddress),
            proxies: configuration.proxies, metrics: metrics, onSaturation: events.onSaturation)
    }

    /// Until shut down gracefully, when requests under way are answered first, or cancelled.
    /// - Throws: when the port cannot be opened.
    public func run() async throws {
        var tls: (@Sendable () -> NIOSSLContext)?
        if let certificate { tls = { certificate.context } }
        let server = Server(
            childChannelSetup: EdgeChannel(
                responder: respond, limits: configuration.limits, book: book, tls: tls, refuse: events.refuse),
            configuration: ServerConfiguration(address: .hostname(configuration.host, port: configuration.port)),
            onServerRunning: { [book, events, logger] channel in
                await AcceptGuard.install(on: channel, book: book, logger: logger)
                events.onBound(channel.localAddress?.port ?? 0)
            }, eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger)
        guard let certificate else { return try await server.run() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [configuration, logger] in
                await certificate.follow(every: configuration.certificateInterval, logger: logger)
            }
            defer { group.cancelAll() }
            try await server.run()
        }
    }

    /// Reads the certificate again if its files have changed, without waiting for the next check of them: what SIGHUP asks for.
    /// Connections that are open go on under the certificate that they began with.
    public func reloadCertificate() async { await certificate?.look(logger: logger) }
}
