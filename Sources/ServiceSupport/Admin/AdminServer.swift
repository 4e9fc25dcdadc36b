import HTTPEdge
import Hummingbird
import HummingbirdCore
public import Logging
public import ServiceLifecycle
import Synchronization

/// The admin port of a role: `/livez`, `/readyz` and `/servez` with reasons, `/metrics`.
public final class AdminServer: Service {
    private let host: String
    private let port: Int
    private let readiness: Readiness
    private let metrics: PrometheusRegistry
    private let logger: Logger
    private let bound: BoundPort
    private let token: String?
    /// Maximum number of connections. Probes, scrapers and people need few, and must not take resources from the role.
    private static let maxConnections = 64
    private let pages = Mutex<[AdminPage]>([])
    private let level: LogLevel?

    /// - Parameters:
    ///   - port: 0: any free port, see ``boundPort()``.
    ///   - token: the bearer token for `/log/level` and the pages of ``serve(_:)``; nil: no token. They are then served
    ///     only on a loopback address.
    ///   - level: the level that `POST /log/level/<level>` changes; nil: there is no such page.
    public init(
        host: String, port: Int, readiness: Readiness, metrics: PrometheusRegistry, logger: Logger,
        token: String? = nil,
        level: LogLevel? = nil
    ) {
        self.token = token
        self.level = level
        self.host = host
        self.port = port
        self.readiness = readiness
        self.metrics = metrics
        self.logger = logger
        bound = BoundPort()
    }

    /// Adds a page. Call it before ``run()``.
    public func serve(_ page: AdminPage) { pages.withLock { $0.append(page) } }

    /// Waits until the port is open. - Throws: `CancellationError` when it cannot be opened, or when the waiting task
    /// is cancelled.
    public func boundPort() async throws -> Int { try await bound.wait() }

    public func run() async throws {
        // Monitors send HEAD requests.
        let router = Router(options: .autoGenerateHeadEndpoints)
        router.get("livez") { _, _ in Response.text("ok\n") }
        router.get("readyz") { [readiness] _, _ in Response.readiness(readiness.reasons) }
        // For load balancers.
        router.get("servez") { [readiness] _, _ in Response.readiness(readiness.reasonsAgainstRequests) }
        router.get("metrics") { [metrics] _, _ in
            Response.text(metrics.render(), type: "text/plain; version=0.0.4; charset=utf-8")
        }
        let access = AdminAccess(host: host, token: token)
        if let level {
            let page = LogLevelPage(level: level, logger: logger)
            router.get("log/level") { request, _ in
                Response.json(access.refusal(authorization: request.headers[.authorization]) ?? page.show())
            }
            router.post("log/level/:level") { request, context in
                Response.json(
                    access.refusal(authorization: request.headers[.authorization])
                        ?? access.refusal(origin: request.headers[.origin])
                        ?? page.change(to: context.parameters.get("level") ?? ""))
            }
        }
        for page in pages.withLock({ $0 }) {
            router.get("\(page.path)/:name") { request, context in
                if let refusal = access.refusal(authorization: request.headers[.authorization]) {
                    return Response.json(refusal)
                }
                return Response.json(await page.answer(context.parameters.get("name") ?? ""))
            }
        }
        // Hummingbird logs each start at level info. An admin port needs no such line.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        var configuration = EdgeConfiguration(name: "admin", host: host, port: port)
        configuration.limits.maxConnections = Self.maxConnections
        configuration.limits.maxConnectionsPerAddress = Self.maxConnections
        var events = EdgeServer.Events()
        events.onBound = { [bound] in bound.set($0) }
        let responder = router.buildResponder()
        let server = try EdgeServer(configuration, metrics: metrics, logger: quiet, events: events) {
            [quiet] (request, writer: consuming ResponseWriter, channel) in
            let context = BasicRequestContext(source: .init(channel: channel, logger: quiet))
            let response: Response
            do { response = try await responder.respond(to: request, context: context) } catch {
                response = Response(status: .internalServerError)
            }
            try await writer.write(response: response.head, body: response.body)
        }
        let address = ListenAddress(
            "admin port", host: host, port: port, hostFlag: Settings.adminHost.description.flag,
            portFlag: Settings.adminPort.description.flag)
        defer { bound.fail() }
        try await address.run(server)
    }
}

extension Response {
    fileprivate static func readiness(_ reasons: [String: String]) -> Response {
        if reasons.isEmpty { return text("ready\n") }
        let lines = reasons.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\n" }
        return text(lines.joined(), status: .serviceUnavailable)
    }

    fileprivate static func json(_ reply: AdminReply) -> Response {
        var response = text(reply.json + "\n", status: .init(code: reply.status), type: "application/json")
        if reply.status == 401 { response.headers[.wwwAuthenticate] = "Bearer" }
        return response
    }

    fileprivate static func text(
        _ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8"
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
