import Foundation
import HTTPEdge
import Hummingbird
import HummingbirdCore
public import Logging
public import ServiceLifecycle
import Synchronization

/// The admin port of a role: `/livez`, `/readyz` with reasons, `/metrics`.
public final class AdminServer: Service {
    private let host: String
    private let port: Int
    private let readiness: Readiness
    private let metrics: PrometheusRegistry
    private let logger: Logger
    private let bound: BoundPort
    private let token: String?
    /// Probes, scrapers and people: few, and never at the cost of what the role is for.
    private static let maxConnections = 64
    private let pages = Mutex<[AdminPage]>([])

    /// - Parameters:
    ///   - port: 0: any free one, see ``boundPort()``.
    ///   - token: what callers of the pages of ``serve(_:)`` must show as bearer token; nil: none, and then they are served on
    ///     a loopback address only.
    public init(
        host: String, port: Int, readiness: Readiness, metrics: PrometheusRegistry, logger: Logger, token: String? = nil
    ) {
        self.token = token
        self.host = host
        self.port = port
        self.readiness = readiness
        self.metrics = metrics
        self.logger = logger
        bound = BoundPort()
    }

    /// Adds a page; before ``run()``.
    public func serve(_ page: AdminPage) { pages.withLock { $0.append(page) } }

    /// Waits until the port is open.
    public func boundPort() async -> Int { await bound.wait() }

    public func run() async throws {
        // Monitors ask by HEAD.
        let router = Router(options: .autoGenerateHeadEndpoints)
        router.get("livez") { _, _ in Response.text("ok\n") }
        router.get("readyz") { [readiness] _, _ in
            let reasons = readiness.reasons
            if reasons.isEmpty { return Response.text("ready\n") }
            let lines = reasons.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\n" }
            return Response.text(lines.joined(), status: .serviceUnavailable)
        }
        router.get("metrics") { [metrics] _, _ in
            Response.text(metrics.render(), type: "text/plain; version=0.0.4; charset=utf-8")
        }
        for page in pages.withLock({ $0 }) {
            let access = AdminAccess(host: host, token: token)
            router.get("\(page.path)/:name") { request, context in
                if let refusal = access.refusal(authorization: request.headers[.authorization]) {
                    return Response.json(refusal)
                }
                return Response.json(await page.answer(context.parameters.get("name") ?? ""))
            }
        }
        // Hummingbird logs each start at info; an admin port is not worth a line.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let book = ConnectionBook(
            listener: "admin", bounds: .init(connections: Self.maxConnections, perClient: Self.maxConnections),
            metrics: metrics)
        let application = Application(
            router: router,
            server: HTTPServerBuilder { responder in
                EdgeChannel(responder: responder, limits: EdgeLimits(), book: book, refuse: HTTPRefusalReply.text)
            },
            configuration: ApplicationConfiguration(address: .hostname(host, port: port), serverName: nil),
            onServerRunning: { [bound, logger] channel in
                await AcceptGuard.install(on: channel, book: book, logger: logger)
                bound.set(channel.localAddress?.port ?? 0)
            }, logger: quiet)
        do {
            try await application.run()
        } catch {
            throw StartError(
                opening: "admin port", host: host, port: port, error, flag: Settings.adminPort.description.flag)
        }
    }
}

/// Why a role cannot start, and what to do.
public struct StartError: Error, CustomStringConvertible, Sendable {
    public let description: String
    public init(_ description: String) { self.description = description }

    /// A port that cannot be opened.
    /// - Parameter flag: what sets another one.
    public init(opening what: String, host: String, port: Int, _ error: any Error, flag: String) {
        self.init("\(what) \(host):\(port) cannot be opened (\(error)): is another process using it? Set \(flag)")
    }
}

/// A port that is known once a server has opened it.
public final class BoundPort: Sendable {
    private struct State {
        var port: Int?
        var waiters: [CheckedContinuation<Int, Never>] = []
    }

    private let state = Mutex(State())

    public init() {}

    public func set(_ port: Int) {
        let waiters = state.withLock { state in
            state.port = port
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: port) }
    }

    public func wait() async -> Int {
        await withCheckedContinuation { continuation in
            let port = state.withLock { state -> Int? in
                if state.port == nil { state.waiters.append(continuation) }
                return state.port
            }
            if let port { continuation.resume(returning: port) }
        }
    }
}

extension Response {
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
