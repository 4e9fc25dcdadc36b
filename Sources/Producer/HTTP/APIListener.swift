import Challenges
import HTTPEdge
import HTTPTypes
import HummingbirdCore
import Logging
import Metrics
import NIOHTTP1
import ServiceLifecycle
import ServiceSupport
import Wire

/// One address of the API: the main address, or the address for devices.
struct APIListener: ServiceLifecycle.Service {
    let server: EdgeServer
    private let address: ListenAddress

    /// - Parameters:
    ///   - isForDevices: true when the address serves only devices.
    ///   - connections: the bound of this listener.
    ///   - onBound: gets the port.
    /// - Throws: an error that names the TLS file that cannot be read.
    init(
        _ configuration: ProducerConfiguration, isForDevices: Bool, connections: Int, api: API,
        clock: @escaping @Sendable () -> Int64, readiness: Readiness, metrics: any MetricsFactory, logger: Logger,
        onBound: @escaping @Sendable (Int) -> Void
    ) throws {
        let device = isForDevices ? configuration.deviceAPI : nil
        var edge = EdgeConfiguration(
            name: isForDevices ? "devices" : "api", host: device?.host ?? configuration.host,
            port: device?.port ?? configuration.port)
        edge.limits = configuration.http.edge
        edge.limits.maxConnections = connections
        edge.proxies = configuration.trustedProxies
        edge.tls = isForDevices ? device?.tls : configuration.tls
        edge.certificateInterval = configuration.certificateInterval
        address =
            isForDevices
            ? ListenAddress(
                "device API", host: edge.host, port: edge.port, hostFlag: Settings.deviceAPIHost.description.flag,
                portFlag: Settings.deviceAPIPort.description.flag)
            : ListenAddress(
                "HTTP API", host: edge.host, port: edge.port, hostFlag: Settings.apiHost.description.flag,
                portFlag: Settings.apiPort.description.flag)
        let check = isForDevices ? "http-devices" : "http"
        readiness.fail(check, "starting")
        let scheme = edge.tls == nil ? "http" : "https"
        let responder = APIResponder(
            api: api, limits: configuration.http,
            view: ClientView(
                publicURL: isForDevices ? device?.publicURL : configuration.publicURL, scheme: scheme,
                fallbackURL: "\(scheme)://\(edge.host):\(edge.port)", proxies: edge.proxies),
            cors: CORS(origins: configuration.corsOrigins, rules: .api), isForDevices: isForDevices, clock: clock,
            metrics: api.metrics, logger: logger, tracer: configuration.tracer)
        var events = EdgeServer.Events()
        events.onBound = { port in
            readiness.pass(check)
            onBound(port)
        }
        events.onSaturation = { reason in
            if let reason {
                readiness.fail("\(check)-connections", reason)
            } else {
                readiness.pass("\(check)-connections")
            }
        }
        events.refuse = { [metrics = api.metrics] refusal in
            metrics.refused(status: Int(refusal.status.code))
            return HTTPRefusalReply(refusal)
        }
        server = try EdgeServer(edge, metrics: metrics, logger: logger, events: events) {
            (request, writer: consuming ResponseWriter, channel) in
            let (head, body) = await responder.respond(to: request, on: channel)
            try await writer.write(response: head, body: body)
        }
    }

    func run() async throws { try await address.run(server) }
}

extension CORS.Rules {
    static let api = CORS.Rules(
        methods: ["GET", "POST", "DELETE"],
        requestHeaders: ["Authorization", "Content-Type", "If-None-Match", "traceparent", "tracestate"],
        replyHeaders: [
            "Date", "Twilio-Request-Id", "Twilio-Verify-Signature-Fields", "Beckon-Ignored", "ETag", "Retry-After",
        ])
}

extension HTTPRefusalReply {
    /// The API's body.
    init(_ refusal: HTTPRefusal) {
        let error = APIError(refusal)
        self.init(
            headers: [
                "Content-Type": "application/json", APIResponder.requestIDName.rawName: RequestIdentifier.make(),
            ], body: error.body.bytes)
        for (name, value) in error.headers { headers.replaceOrAdd(name: name, value: value) }
    }
}

extension APIError {
    /// The error for a request that is not HTTP, or that arrives too late. The connection is closed after it.
    init(_ refusal: HTTPRefusal) {
        let code: ProblemCode =
            switch refusal {
            case .malformed, .length, .host: .malformed
            case .headersTooLarge: .headersTooLarge
            case .bodyDeadline: .requestTimeout
            case .clientShare: .tooManyRequests
            }
        let retry = refusal == .clientShare ? ["Retry-After": "1"] : [:]
        self.init(code, refusal.message, headers: retry.merging(["Connection": "close"]) { old, _ in old })
    }
}
