import Foundation
import Hummingbird
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

    /// - Parameter port: 0: any free one, see ``boundPort()``.
    public init(host: String, port: Int, readiness: Readiness, metrics: PrometheusRegistry, logger: Logger) {
        self.host = host
        self.port = port
        self.readiness = readiness
        self.metrics = metrics
        self.logger = logger
        bound = BoundPort()
    }

    /// Waits until the port is open.
    public func boundPort() async -> Int { await bound.wait() }

    public func run() async throws {
        let router = Router()
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
        // Hummingbird logs each start at info; an admin port is not worth a line.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let application = Application(
            router: router,
            configuration: ApplicationConfiguration(address: .hostname(host, port: port), serverName: nil),
            onServerRunning: { [bound] channel in bound.set(channel.localAddress?.port ?? 0) }, logger: quiet)
        do {
            try await application.run()
        } catch {
            throw StartError(
                "admin port \(host):\(port) cannot be opened (\(error)): is another role using it? Set --admin-port")
        }
    }
}

/// Why a role cannot start, and what to do.
public struct StartError: Error, CustomStringConvertible, Sendable {
    public let description: String
    public init(_ description: String) { self.description = description }
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
    fileprivate static func text(
        _ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8"
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
