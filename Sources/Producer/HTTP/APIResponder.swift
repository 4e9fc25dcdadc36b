import ChallengeModel
import ChallengeStore
import HTTPEdge
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Wire

/// Between Hummingbird and the resources: reads the request within its bounds, answers errors as the API words them, counts.
struct APIResponder: HTTPResponder {
    typealias Context = APIContext

    let api: API
    let limits: HTTPLimits
    let view: ClientView
    let cors: CORS
    /// Account keys are refused, and what no device calls is not there.
    let isForDevices: Bool
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let logger: Logger

    func respond(to request: Request, context: APIContext) async -> Response {
        let start = ContinuousClock.now
        let target = request.head.path ?? "/"
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        let path = String(target[..<mark])
        let query = mark == target.endIndex ? "" : String(target[target.index(after: mark)...])
        let route = Route(path: path)
        let requestID = RequestIdentifier.make()
        let origin = request.headers[Self.origin]
        let corsHeaders = cors.headers(origin: origin, isPreflight: request.method == .options)
        // HEAD is GET without the content (RFC 9110, section 9.3.2).
        let isHead = request.method == .head
        let method = isHead ? "GET" : request.method.rawValue
        var reply: APIReply
        var mayWait = false
        do {
            if request.method == .options, path == "*" || path == "/*" {
                let reply = APIReply(status: 204, headers: ["Allow": Route.everyMethod])
                return respond(reply, to: request, from: start, route: nil, requestID: requestID, more: corsHeaders)
            }
            guard let route else { throw APIError.notFound }
            guard !isForDevices || route.methods.contains(where: { route.access($0).device != .none }) else {
                throw APIError.notFound
            }
            if request.method == .options {
                let reply = APIReply(status: 204, headers: ["Allow": route.allow])
                return respond(reply, to: request, from: start, route: route, requestID: requestID, more: corsHeaders)
            }
            guard route.methods.contains(method) else {
                throw APIError(
                    .methodNotAllowed, "Method not allowed: expected " + route.methods.joined(separator: " or "),
                    headers: ["Allow": route.methods.joined(separator: ", ")])
            }
            let callbackID = request.headers[Self.callbackID]
            let isSigned = route == .hmsReceipts && api.hmsCallback?.accepts(callbackID, nowMs: clock()) == true
            let body = try await body(
                of: request, atMost: isSigned ? limits.maxSignedBody : limits.maxBody, on: context.channel)
            let credentials = PresentedCredentials(authorization: request.headers[.authorization])
            if isForDevices {
                guard route.access(method).device != .none else { throw APIError.notFound }
                // Right or wrong: nothing is learned here about an account's secrets.
                if case .backend = credentials {
                    throw APIError(.authentication, "Authenticate: this address serves devices only")
                }
            }
            let call = APICall(
                route: route, method: method, isHead: isHead, path: path, query: query, body: body,
                contentType: request.headers[.contentType],
                credentials: credentials,
                baseURL: view.baseURL(
                    host: request.head.authority, forwardedHost: request.headers[Self.forwardedHost],
                    forwardedProto: request.headers[Self.forwardedProto], peer: context.peer),
                address: view.address(forwardedFor: request.headers[values: Self.forwardedFor], peer: context.peer),
                traceparent: TraceParent.valid(request.headers[Self.traceparent]),
                idempotencyKey: request.headers[Self.idempotencyKey], callbackID: callbackID, requestID: requestID,
                nowMs: clock(), ifNoneMatch: request.headers[.ifNoneMatch])
            // A client that hangs up ends its waiting.
            mayWait = call.mayWait
            reply =
                mayWait
                ? try await request.body.consumeWithCancellationOnInboundClose { _ in try await api.answer(call) }
                : try await api.answer(call)
        } catch {
            reply = Self.reply(to: error, logger: logger, requestID: requestID)
        }
        // Hummingbird has looked for what comes behind the request, and ends the connection.
        if mayWait { reply.headers["Connection"] = "close" }
        return respond(reply, to: request, from: start, route: route, requestID: requestID, more: corsHeaders)
    }

    private func respond(
        _ reply: APIReply, to request: Request, from start: ContinuousClock.Instant, route: Route?, requestID: String,
        more: [(name: String, value: String)]
    ) -> Response {
        metrics.answered(
            route: route?.template ?? "none", method: Self.knownMethod(request.method.rawValue), status: reply.status,
            nanoseconds: (ContinuousClock.now - start).wholeNanoseconds)
        logger.debug(
            "answered",
            metadata: [
                "route": "\(route?.template ?? "none")", "status": "\(reply.status)", "request-id": "\(requestID)",
            ])
        let response = Self.response(reply, requestID: requestID, more: more)
        // A body would be read as the start of the next reply.
        return request.method == .head ? response.createHeadResponse() : response
    }

    // MARK: - In

    /// The body of a POST. Others' bodies are left alone: Hummingbird reads past them.
    /// - Throws: 20413 over the limit, 20415 for a body that is packed, ``HTTPRefusal`` when it does not arrive whole or in time.
    private func body(of request: Request, atMost most: Int, on channel: any Channel) async throws -> [UInt8] {
        guard request.method == .post else { return [] }
        if let encoding = request.headers[.contentEncoding]?.trimmingWhitespace().lowercased(),
            !encoding.isEmpty, encoding != "identity"
        {
            throw APIError(
                .mediaType, "Content-Encoding: expected none, the body as it is",
                headers: ["Accept-Encoding": "identity"])
        }
        let tooLarge = APIError(
            .tooLarge, "The body is too large: at most \(most) bytes", headers: ["Connection": "close"])
        if let declared = request.headers[.contentLength].flatMap({ Int($0) }), declared > most {
            throw tooLarge
        }
        if request.headers[.expect] != nil { channel.triggerUserOutboundEvent(BodyIsWanted(), promise: nil) }
        var bytes: [UInt8] = []
        for try await chunk in request.body {
            guard bytes.count + chunk.readableBytes <= most else { throw tooLarge }
            bytes.append(contentsOf: chunk.readableBytesView)
        }
        return bytes
    }

    private static func knownMethod(_ method: String) -> String {
        ["GET", "HEAD", "POST", "DELETE", "OPTIONS"].contains(method) ? method : "other"
    }

    // MARK: - Out

    static func reply(to error: any Error, logger: Logger, requestID: String) -> APIReply {
        let told: APIError
        switch error {
        case let error as APIError: told = error
        case let error as RuleViolation: told = APIError(error)
        case is CancellationError:
            // The client has hung up, or we are on our way out.
            told = APIError(.unavailable, "Not answered: on the way out", headers: ["Retry-After": "1"])
        case let refusal as HTTPRefusal: told = APIError(refusal)
        case let error as StoreError:
            if case .failed(let reason) = error {
                logger.error("the store failed", metadata: ["error": "\(reason)", "request-id": "\(requestID)"])
            }
            told = APIError(error)
        default:
            logger.error(
                "a request failed",
                metadata: ["error": "\(String(describing: type(of: error)))", "request-id": "\(requestID)"])
            told = APIError(.internalError, "Internal error")
        }
        return APIReply(status: told.code.httpStatus, body: told.body, headers: told.headers)
    }

    static func response(
        _ reply: APIReply, requestID: String, more: [(name: String, value: String)] = []
    ) -> Response {
        var headers = HTTPFields()
        headers[requestIDName] = requestID
        for (name, value) in more {
            if let name = HTTPField.Name(name) { headers[name] = value }
        }
        for (name, value) in reply.headers {
            if let name = HTTPField.Name(name) { headers[name] = value }
        }
        if reply.status == 401 { headers[.wwwAuthenticate] = "Basic realm=\"Beckon\"" }
        let ignored = IgnoredParameters.header(reply.ignored)
        if !ignored.isEmpty { headers[ignoredName] = ignored }
        guard let body = reply.body else {
            return Response(status: .init(code: reply.status), headers: headers)
        }
        headers[.contentType] = "application/json"
        return Response(
            status: .init(code: reply.status), headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: body.bytes)))
    }

    // Tokens of the HTTP grammar, so that these cannot be nil; a constant must still say what it does if they were.
    static let requestIDName = HTTPField.Name("Twilio-Request-Id") ?? .via
    private static let ignoredName = HTTPField.Name("Beckon-Ignored") ?? .via
    private static let origin = HTTPField.Name("Origin") ?? .via
    private static let forwardedFor = HTTPField.Name("X-Forwarded-For") ?? .via
    private static let forwardedHost = HTTPField.Name("X-Forwarded-Host") ?? .via
    private static let forwardedProto = HTTPField.Name("X-Forwarded-Proto") ?? .via
    private static let callbackID = HTTPField.Name("X-HUAWEI-CALLBACK-ID") ?? .via
    private static let traceparent = HTTPField.Name("traceparent") ?? .via
    private static let idempotencyKey = HTTPField.Name(IdempotencyRules.header) ?? .via
}

/// A request's context: who is at the other end of the connection.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    var peer: SocketAddress? { channel.remoteAddress }

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// Bounds of one request and one connection.
public struct HTTPLimits: Sendable {
    /// Bytes; default 64 KB.
    public var maxBody = 64 * 1024
    /// Of HMS's delivery receipts, once their header is proved; default 512 KB, for a thousand.
    public var maxSignedBody = 512 * 1024
    /// From the head to the end of the body; default 10 s.
    public var bodyDeadline: Duration = .seconds(10)
    /// From a connection, its TLS included, to the head of its first request; default 15 s.
    public var headDeadline: Duration = .seconds(15)
    /// From a reply's first byte to its last, taken by the socket; default 30 s.
    public var responseDeadline: Duration = .seconds(30)
    /// A connection without a request, or in the middle of one, is closed after this; default 60 s.
    public var idleTimeout: Duration = .seconds(60)
    /// Bytes of all headers; default 32 KB.
    public var maxHeaders = 32 * 1024
    /// Connections open at once, of each listener; fewer where the process may not open as many files. Default 10,000.
    public var maxConnections = 10_000
    /// Of them, of one client address; at most half of ``maxConnections``. Default 2,000, twice the long polls of one key.
    public var maxConnectionsPerAddress = 2000

    public init() {}

    var edge: EdgeLimits {
        var edge = EdgeLimits()
        edge.headDeadline = headDeadline
        edge.bodyDeadline = bodyDeadline
        edge.responseDeadline = responseDeadline
        edge.idleTimeout = idleTimeout
        edge.maxHeaders = maxHeaders
        return edge
    }
}

enum RequestIdentifier {
    /// `RQ` and 32 hexadecimal digits.
    static func make() -> String {
        "RQ" + Hexadecimal.random(digits: 32)
    }
}

enum IgnoredParameters {
    /// At most 20 names of at most 64 characters; what could break a header is a `?`.
    static func header(_ names: [String]) -> String {
        names.prefix(20).map { name in
            String(
                decoding: name.utf8.prefix(64).map { byte in
                    let isPlain =
                        (0x21...0x7E).contains(byte) && byte != UInt8(ascii: ",") && byte != UInt8(ascii: "\"")
                    return isPlain ? byte : UInt8(ascii: "?")
                }, as: UTF8.self)
        }.joined(separator: ",")
    }
}
