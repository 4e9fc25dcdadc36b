import ChallengeModel
import Challenges
public import HTTPEdge
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import ServiceSupport
import Synchronization
import Wire

/// The layer between a listener and the resources. It reads the request within its bounds, finds its route, renders
/// errors in the form of the API, and counts.
struct APIResponder: Sendable {
    let api: API
    let limits: HTTPLimits
    let view: ClientView
    let cors: CORS
    /// True on the address for devices: account keys are refused, and routes that no device calls do not exist.
    let isForDevices: Bool
    let clock: @Sendable () -> Int64
    let metrics: ProducerMetrics
    let logger: Logger
    /// Nil: no spans are made.
    var tracer: ServiceTracer?

    /// The facts about a request until it is answered.
    private struct Exchange {
        let start = ContinuousClock.now
        let requestID: String
        let method: RequestMetrics.Method
        var match: RouteMatch?
        var trace: RequestTrace?
    }

    func respond(to request: Request, on channel: any Channel) async -> (HTTPResponse, ResponseBody) {
        let requestID = RequestIdentifier.make()
        return await LogContext.$current.withValue(LogContext(requestID: requestID, trace: nil)) {
            await respond(to: request, requestID: requestID, on: channel)
        }
    }

    private func respond(
        to request: Request, requestID: String, on channel: any Channel
    ) async -> (HTTPResponse, ResponseBody) {
        let target = request.head.path ?? "/"
        let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) ?? target.endIndex
        let path = target[..<mark]
        let match = RouteMatch(path: path)
        let caller = TraceContext(
            traceparent: request.headers[Self.traceparent], tracestate: request.headers[values: Self.tracestate])
        var exchange = Exchange(
            requestID: requestID, method: RequestMetrics.Method(request.method), match: match)
        if let tracer {
            exchange.trace = RequestTrace(
                tracer, caller: caller, method: exchange.method.spanName, route: match?.route.template)
        }
        var reply: APIReply
        var mayWait = false
        do {
            if request.method == .options {
                reply = try options(path, match)
            } else {
                let (match, operation) = try operation(request, match)
                var call = try await call(
                    request, match, operation, path: String(path),
                    query: mark == target.endIndex ? "" : String(target[target.utf8.index(after: mark)...]),
                    requestID: exchange.requestID, on: channel)
                call.trace = exchange.trace
                call.traceparent = caller?.text
                let identified = call
                // The wait ends when the client disconnects.
                mayWait = call.mayWait
                reply =
                    mayWait
                    ? try await request.body.consumeWithCancellationOnInboundClose { _ in
                        try await api.answer(identified)
                    }
                    : try await api.answer(identified)
            }
        } catch {
            reply = Self.reply(to: error, logger: logger, trace: exchange.trace?.begin(isTrusted: false))
        }
        // Hummingbird has read beyond the request to notice a disconnect, so the connection must end.
        if mayWait { reply.headers["Connection"] = "close" }
        return finish(reply, request, exchange)
    }

    private func finish(_ reply: APIReply, _ request: Request, _ exchange: Exchange) -> (HTTPResponse, ResponseBody) {
        metrics.answered(
            route: exchange.match?.index, method: exchange.method, status: reply.status,
            nanoseconds: (ContinuousClock.now - exchange.start).wholeNanoseconds)
        exchange.trace?.end(
            method: exchange.method.spanName, route: exchange.match?.route.template, scheme: view.scheme,
            status: reply.status, requestID: exchange.requestID)
        logger.debug(
            "answered",
            metadata: .trace(
                exchange.trace?.begin(isTrusted: false),
                ["route": "\(exchange.match?.route.template ?? "none")", "status": "\(reply.status)"]))
        let more = cors.headers(origin: request.headers[Self.origin], isPreflight: request.method == .options)
        let content = reply.body.map { ByteBuffer(bytes: $0.bytes) }
        let head = Self.head(reply, length: content?.readableBytes ?? 0, requestID: exchange.requestID, more: more)
        // A body would be read as the start of the next reply.
        guard let content, exchange.method != .head else { return (head, ResponseBody()) }
        return (head, ResponseBody(byteBuffer: content))
    }

    // MARK: - In

    /// Answers OPTIONS: the methods of the path, without credentials and without CORS.
    private func options(_ path: Substring, _ match: RouteMatch?) throws(APIError) -> APIReply {
        if path == "*" || path == "/*" { return APIReply(status: 204, headers: ["Allow": Route.everyMethod]) }
        return APIReply(status: 204, headers: ["Allow": try served(match).route.allow])
    }

    /// - Throws: 20404 for a route that this address does not serve.
    private func served(_ match: RouteMatch?) throws(APIError) -> RouteMatch {
        guard let match, !isForDevices || match.route.isForDevices else { throw .notFound }
        return match
    }

    /// - Throws: 20404, or 20004 for a method that the route does not have.
    private func operation(
        _ request: Request, _ match: RouteMatch?
    ) throws(APIError) -> (RouteMatch, Operation) {
        let match = try served(match)
        let route = match.route
        // HEAD is GET without the content (RFC 9110, section 9.3.2).
        guard let operation = route.operation(request.method == .head ? "GET" : request.method.rawValue) else {
            throw APIError(
                .methodNotAllowed, "Method not allowed: expected " + route.expected, headers: ["Allow": route.methods])
        }
        return (match, operation)
    }

    private func call(
        _ request: Request, _ match: RouteMatch, _ operation: Operation, path: String, query: String, requestID: String,
        on channel: any Channel
    ) async throws -> APICall {
        let headers = request.headers
        let callbackID = headers[Self.callbackID]
        let isSigned =
            operation.device == .signature && api.hmsCallback?.accepts(callbackID, nowMs: clock()) == true
        let body = try await body(
            of: request, atMost: isSigned ? limits.maxSignedBody : limits.maxBody, on: channel)
        let credentials = PresentedCredentials(authorization: headers[.authorization])
        if isForDevices {
            guard operation.device != .none else { throw APIError.notFound }
            // Valid and invalid keys get the same answer, so that this address reveals nothing about an account's
            // secrets.
            if case .backend = credentials {
                throw APIError(.authentication, "Authenticate: this address serves devices only")
            }
        }
        let peer = channel.remoteAddress
        return APICall(
            match: match, operation: operation, isHead: request.method == .head, path: path, query: query, body: body,
            contentType: headers[.contentType], credentials: credentials,
            baseURL: view.baseURL(
                host: request.head.authority, forwardedHost: headers[Self.forwardedHost],
                forwardedProto: headers[Self.forwardedProto], peer: peer),
            address: view.address(forwardedFor: headers[values: Self.forwardedFor], peer: peer),
            idempotencyKey: headers[Self.idempotencyKey], callbackID: callbackID, requestID: requestID,
            nowMs: clock(), ifNoneMatch: headers[.ifNoneMatch])
    }

    /// Reads the body of a POST. Hummingbird skips the bodies of other methods.
    /// - Throws: 20413 above the limit, 20415 for a compressed body, ``HTTPRefusal`` when the body does not arrive
    ///   completely or in time.
    private func body(of request: Request, atMost most: Int, on channel: any Channel) async throws -> [UInt8] {
        guard request.method == .post else { return [] }
        if let encoding = request.headers[.contentEncoding]?.trimmingWhitespace().lowercased(),
            !encoding.isEmpty, encoding != "identity"
        {
            throw APIError(
                .mediaType, "Content-Encoding: expected a body without it",
                headers: ["Accept-Encoding": "identity"])
        }
        func tooLarge() -> APIError {
            APIError(.tooLarge, "The body is too large: at most \(most) bytes", headers: ["Connection": "close"])
        }
        let declared = request.headers[.contentLength].flatMap { Int($0) }
        if let declared, declared > most { throw tooLarge() }
        if request.headers[.expect] != nil { channel.triggerUserOutboundEvent(BodyIsWanted(), promise: nil) }
        var bytes: [UInt8] = []
        for try await chunk in request.body {
            guard bytes.count + chunk.readableBytes <= most else { throw tooLarge() }
            bytes.append(contentsOf: chunk.readableBytesView)
        }
        return bytes
    }

    // MARK: - Out

    /// - Parameter trace: the trace context of the request, for the log.
    static func reply(to error: any Error, logger: Logger, trace: String? = nil) -> APIReply {
        let told: APIError
        switch error {
        case let error as APIError: told = error
        case let error as RuleViolation: told = APIError(error)
        case is CancellationError:
            // The client has disconnected, or the server is shutting down.
            told = APIError(.unavailable, "The server is shutting down: retry", headers: ["Retry-After": "1"])
        case let refusal as HTTPRefusal: told = APIError(refusal)
        case let error as StoreError:
            if case .failed(let reason) = error {
                logger.error("the store failed", metadata: .trace(trace, ["error": "\(reason)"]))
            }
            told = APIError(error)
        default:
            logger.error(
                "a request failed",
                metadata: .trace(trace, ["error": "\(String(describing: type(of: error)))"]))
            told = APIError(.internalError, "Internal error")
        }
        return APIReply(status: told.code.httpStatus, body: told.body, headers: told.headers)
    }

    /// - Parameter length: length of the content, whether or not it is sent.
    static func head(
        _ reply: APIReply, length: Int, requestID: String, more: CORS.Headers = []
    ) -> HTTPResponse {
        var headers = HTTPFields()
        headers.reserveCapacity(more.count + reply.headers.count + 6)
        headers.append(HTTPField(name: requestIDName, value: requestID))
        for (name, value) in more {
            if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) }
        }
        for (name, value) in reply.headers {
            if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) }
        }
        if reply.status == 401 {
            headers.append(HTTPField(name: .wwwAuthenticate, value: "Basic realm=\"Beckon\""))
        }
        if !reply.ignored.isEmpty {
            headers.append(HTTPField(name: ignoredName, value: IgnoredParameters.header(reply.ignored)))
        }
        if reply.body != nil { headers.append(HTTPField(name: .contentType, value: "application/json")) }
        headers.append(HTTPField(name: .contentLength, value: String(length)))
        return HTTPResponse(status: .init(code: reply.status), headerFields: headers)
    }

    // These names are valid HTTP tokens, so they are never nil. A constant still needs a value for this case.
    static let requestIDName = HTTPField.Name("Twilio-Request-Id") ?? .via
    private static let ignoredName = HTTPField.Name("Beckon-Ignored") ?? .via
    private static let origin = HTTPField.Name("Origin") ?? .via
    private static let forwardedFor = HTTPField.Name("X-Forwarded-For") ?? .via
    private static let forwardedHost = HTTPField.Name("X-Forwarded-Host") ?? .via
    private static let forwardedProto = HTTPField.Name("X-Forwarded-Proto") ?? .via
    private static let callbackID = HTTPField.Name("X-HUAWEI-CALLBACK-ID") ?? .via
    private static let traceparent = HTTPField.Name("traceparent") ?? .via
    private static let tracestate = HTTPField.Name("tracestate") ?? .via
    private static let idempotencyKey = HTTPField.Name(IdempotencyRules.header) ?? .via
}

/// The limits of the API's requests and listeners.
public struct HTTPLimits: Sendable {
    /// Maximum size of a body in bytes; default 64 KB.
    public var maxBody = 64 * 1024
    /// Maximum size of a body with HMS delivery receipts, after their header was verified; default 512 KB, for a
    /// thousand receipts.
    public var maxSignedBody = 512 * 1024
    /// The limits of each listener and its connections. The effective ``EdgeLimits/maxConnections`` is lower when the
    /// process may not open as many files.
    public var edge = EdgeLimits()

    public init() {}
}

enum RequestIdentifier {
    /// The random part of this process.
    private static let process = UInt64.random(in: 0...UInt64.max)
    private static let last = Atomic(UInt64.random(in: 0...UInt64.max))

    /// `RQ` and 32 hexadecimal digits: 16 of this process and 16 of the request. The ids are not secret: one reveals
    /// the others. All are different, and none needs a system call for random numbers.
    static func make() -> String {
        // SplitMix64: a bijection of the counter.
        var number = last.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
        number = (number ^ number >> 30) &* 0xBF58_476D_1CE4_E5B9
        number = (number ^ number >> 27) &* 0x94D0_49BB_1331_11EB
        number ^= number >> 31
        return "RQ" + Hexadecimal.encode(process, digits: 16) + Hexadecimal.encode(number, digits: 16)
    }
}

enum IgnoredParameters {
    /// At most 20 names of at most 64 characters. Characters that are not allowed in a header become `?`.
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
