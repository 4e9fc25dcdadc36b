public import HummingbirdCore
public import Logging
public import Metrics
public import NIOCore
import NIOPosix
import NIOSSL
public import ServiceLifecycle

/// The configuration of one listener.
public struct EdgeConfiguration: Sendable {
    /// The label `listener` of the metrics: `api`, `devices`, `admin`.
    public var name: String
    public var host: String
    /// Port, 0 to 65,535; 0: any free port.
    public var port: Int
    public var limits = EdgeLimits()
    /// Proxies whose `X-Forwarded-*` headers are trusted. Default: none.
    public var proxies = TrustedProxies()
    /// Certificate and key; nil, the default: plain HTTP.
    public var tls: TLSFiles?
    /// How often the certificate's files are checked for a renewal; default 5 s.
    public var certificateInterval: Duration = .seconds(5)

    public init(name: String, host: String, port: Int) {
        self.name = name
        self.host = host
        self.port = port
    }
}

/// An HTTP/1.1 listener: for the API, for devices, or for the admin port. All listeners have the same bounds on
/// connections, deadlines, checks of RFC 9112 and certificates that are read again. They differ only in their replies.
public final class EdgeServer: Service {
    /// The events of a listener for its role.
    public struct Events: Sendable {
        /// The socket is open; gets its port.
        public var onBound: @Sendable (Int) -> Void = { _ in }
        /// Called with a reason when the listener begins to refuse connections, and with nil when it has stopped
        /// refusing. See ``ConnectionBook``.
        public var onSaturation: @Sendable (String?) -> Void = { _ in }
        /// Writes the reply to a request that is refused before `respond` gets it. Called on an event loop.
        public var refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply = HTTPRefusalReply.text

        public init() {}
    }

    private let configuration: EdgeConfiguration
    private let events: Events
    private let respond: HTTPChannelHandler.Responder
    private let certificate: ServerCertificate?
    private let book: ConnectionBook
    private let logger: Logger

    /// Reads the certificate, which blocks the thread.
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

    /// Serves until cancellation or graceful shutdown. A graceful shutdown answers the requests in progress first.
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

    /// Reads the certificate again if its files have changed, without waiting for the next check. SIGHUP calls this.
    /// Open connections keep the certificate that they began with.
    public func reloadCertificate() async { await certificate?.look(logger: logger) }
}
