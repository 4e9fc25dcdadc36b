import HTTPEdge
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import Wire

/// Between the listener and the pages: who asks, from where, within which bounds.
struct ConsoleResponder: Sendable {
    /// Forms are small.
    private static let mostBody = 64 << 10
    /// The media type that asks for the live part of a page only.
    static let fragment = "text/html-fragment"

    let routes: [ConsoleRoute]
    let table: PathTable
    let access: ConsoleAccess
    let places: [PageFrame.Place]
    let nowMs: @Sendable () -> Int64
    let logger: Logger
    private static let mostBodyText = "The form is too large: at most 64 KB."

    func respond(to request: Request, on channel: any Channel) async -> (HTTPResponse, ResponseBody) {
        let target = request.head.path ?? "/"
        let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) ?? target.endIndex
        let path = String(target[..<mark])
        let query = mark == target.endIndex ? "" : String(target[target.utf8.index(after: mark)...])
        let wantsFragment = request.headers[.accept]?.contains(Self.fragment) == true
        var reply: ConsoleReply
        var reader: Reader?
        do {
            reply = try await answer(request, path, query, wantsFragment, channel, &reader)
        } catch let refusal as ConsoleRefusal {
            reply = refused(refusal, path, reader, wantsFragment)
        } catch is CancellationError {
            reply = .text("The console is stopping: try again.", status: 503)
        } catch {
            // Its text may hold what a person typed.
            logger.error("a page failed", metadata: ["error": "\(String(describing: type(of: error)))"])
            reply = refused(
                ConsoleRefusal(status: 500, message: "This page failed. The console's log says why."), path, reader,
                wantsFragment)
        }
        return Self.rendered(reply, isHead: request.method == .head)
    }

    private func answer(
        _ request: Request, _ path: String, _ query: String, _ wantsFragment: Bool, _ channel: any Channel,
        _ reader: inout Reader?
    ) async throws -> ConsoleReply {
        if let asset = Asset.all.first(where: { $0.path == path }), [.get, .head].contains(request.method) {
            return asset.reply
        }
        try checkHost(request)
        try checkOrigin(request)
        let body = request.method == .post ? try await self.body(of: request, on: channel) : []
        guard let form = try? Form(body), let items = try? Form(query.utf8) else {
            throw ConsoleRefusal(status: 400, message: "The form or the address cannot be read.")
        }
        if path == "/sign-in" || path == "/sign-out", let reply = session(path, request.method, form) { return reply }
        switch access.verdict(request.headers, peer: channel.remoteAddress, nowMs: nowMs()) {
        case .allowed(let known): reader = known
        case .refused(let why): throw ConsoleRefusal(status: 403, message: why)
        case .mustSignIn:
            if ConsoleTokens.bearer(request.headers) != nil {
                throw ConsoleRefusal(
                    status: 401, message: "The bearer token is not one of this console's.",
                    headers: [("WWW-Authenticate", "Bearer")])
            }
            return .html(signIn(isWrong: false), status: 401)
        }
        guard let reader,
            let match = table.match(
                (path == "/" ? ConsoleRoute.home : path)[...], decode: { Percent.decode($0.utf8, plusIsSpace: false) })
        else { throw ConsoleRefusal.notFound }
        let route = routes[match.index]
        let isGet = request.method == .get || request.method == .head
        guard let handler = isGet ? route.get : request.method == .post ? route.post : nil else {
            throw ConsoleRefusal(
                status: 405, message: "This address has no such method.",
                headers: [
                    (
                        "Allow",
                        [route.get == nil ? nil : "GET, HEAD", route.post == nil ? nil : "POST"].compactMap { $0 }
                            .joined(separator: ", ")
                    )
                ])
        }
        guard isGet || reader.mayAct else {
            throw ConsoleRefusal(status: 403, message: "You may look at this console, but not act. Ask an operator.")
        }
        let call = ConsoleRequest(
            path: path, query: items, form: form, values: match.values, reader: reader,
            tag: request.headers[.ifNoneMatch], wantsFragment: wantsFragment, nowMs: nowMs())
        // Only for routes that wait, because Hummingbird reads beyond the request and the connection must then end.
        let waits = isGet && route.waits && items["wait"] != nil
        let answer =
            waits
            ? try await request.body.consumeWithCancellationOnInboundClose { _ in
                try await cancelWhenStopping { try await handler(call) }
            } : try await handler(call)
        var reply = rendered(answer, call)
        if waits { reply.headers.append(("Connection", "close")) }
        return reply
    }

    private func rendered(_ answer: Answer, _ request: ConsoleRequest) -> ConsoleReply {
        switch answer {
        case .reply(let reply): return reply
        case .done(let text, let path): return request.wantsFragment ? .text(text, status: 200) : .redirect(path)
        case .page(let page) where request.wantsFragment:
            let tag = page.fragmentTag
            if request.tag == tag { return ConsoleReply(status: 304, headers: [("ETag", tag)]) }
            return ConsoleReply(
                type: "\(Self.fragment); charset=utf-8", headers: [("ETag", tag), ("Vary", "Accept")],
                body: (page.live ?? .nothing).html)
        case .page(let page):
            return .html(
                frame(request.reader).html(title: page.title, path: request.path, main: page.main), status: page.status)
        }
    }

    private func frame(_ reader: Reader?) -> PageFrame {
        var isDevelopment = false
        if case .development = access { isDevelopment = true }
        return PageFrame(places: places, reader: reader, isDevelopment: isDevelopment)
    }

    private func refused(
        _ refusal: ConsoleRefusal, _ path: String, _ reader: Reader?, _ wantsFragment: Bool
    ) -> ConsoleReply {
        var reply: ConsoleReply
        if wantsFragment {
            reply = .text(refusal.message, status: refusal.status)
        } else {
            reply = .html(
                frame(reader).html(
                    title: "Not done", path: path, isPlain: reader == nil,
                    main: tag("section") {
                        tag("h1") { refusal.status == 404 ? "Not found" : "That did not work" }
                        tag("p") { refusal.message }
                        tag("p") { tag("a", ["href": "/"]) { "To the overview" } }
                    }), status: refusal.status)
        }
        reply.headers += refusal.headers
        return reply
    }

    // MARK: - Guards

    /// Without a sign-in, a page of another site could reach this one under a name of its own that it lets point here
    /// (DNS rebinding). So only the names of this machine are answered.
    private func checkHost(_ request: Request) throws {
        guard case .development = access else { return }
        let host = request.head.authority ?? ""
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" } + "]" : host.prefix { $0 != ":" }
        guard ["localhost", "127.0.0.1", "[::1]"].contains(name.lowercased()) else {
            throw ConsoleRefusal(status: 403, message: "Use the address that `beckon dev` printed.")
        }
    }

    private func checkOrigin(_ request: Request) throws {
        let verdict = SameOrigin.verdict(
            method: request.method, headers: request.headers, host: request.head.authority)
        switch verdict {
        case .allowed: return
        case .refused:
            throw ConsoleRefusal(status: 403, message: "The request comes from a page of another site.")
        case .needsBearer:
            if case .development = access { return }
            // Whether it is good is checked with every other credential.
            guard ConsoleTokens.bearer(request.headers) != nil else {
                throw ConsoleRefusal(
                    status: 403, message: "Without Sec-Fetch-Site and Origin, send a bearer token.")
            }
        }
    }

    private func body(of request: Request, on channel: any Channel) async throws -> [UInt8] {
        if let declared = request.headers[.contentLength].flatMap({ Int($0) }), declared > Self.mostBody {
            throw ConsoleRefusal(status: 413, message: Self.mostBodyText, headers: [("Connection", "close")])
        }
        if request.headers[.expect] != nil { channel.triggerUserOutboundEvent(BodyIsWanted(), promise: nil) }
        var bytes: [UInt8] = []
        for try await chunk in request.body {
            guard bytes.count + chunk.readableBytes <= Self.mostBody else {
                throw ConsoleRefusal(status: 413, message: Self.mostBodyText, headers: [("Connection", "close")])
            }
            bytes.append(contentsOf: chunk.readableBytesView)
        }
        return bytes
    }

    // MARK: - Signing in

    private func session(_ path: String, _ method: HTTPRequest.Method, _ form: Form) -> ConsoleReply? {
        guard case .tokens(let tokens) = access, method == .post else { return nil }
        if path == "/sign-out" {
            var reply = ConsoleReply.redirect("/")
            reply.headers.append(("Set-Cookie", ConsoleTokens.noCookie))
            return reply
        }
        guard let cookie = tokens.cookie(for: form["token"] ?? "", nowMs: nowMs()) else {
            logger.notice("a token for the console was wrong")
            return .html(signIn(isWrong: true), status: 403)
        }
        var reply = ConsoleReply.redirect("/")
        reply.headers.append(("Set-Cookie", cookie))
        return reply
    }

    private func signIn(isWrong: Bool) -> Escaped {
        frame(nil).html(
            title: "Sign in", path: "/sign-in", isPlain: true,
            main: tag("section", ["class": "narrow"]) {
                tag("h1") { "Sign in" }
                if isWrong { tag("p", ["class": "fault", "role": "alert"]) { "That is not a token of this console." } }
                tag("form", ["method": "post", "action": "/sign-in"]) {
                    field("Token", id: "token") {
                        tag(
                            "input",
                            [
                                "id": "token", "name": "token", "type": "password", "autocomplete": "current-password",
                                "required": "", "autofocus": "",
                            ])
                    }
                    tag("button", ["class": "main"]) { "Sign in" }
                }
                tag("p", ["class": "hint"]) {
                    "The operator token may act, the viewer token may only look. Both are settings of the console."
                }
            })
    }

    // MARK: - Out

    private static func rendered(_ reply: ConsoleReply, isHead: Bool) -> (HTTPResponse, ResponseBody) {
        var headers = HTTPFields()
        func append(_ name: String, _ value: String) {
            if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) }
        }
        for (name, value) in SecurityHeaders.all { append(name, value) }
        for (name, value) in reply.headers { append(name, value) }
        let content = ByteBuffer(string: reply.body)
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
        if reply.status != 304 {
            headers[.contentType] = reply.type
            if reply.rest == nil { headers[.contentLength] = String(content.readableBytes) }
        }
        let head = HTTPResponse(status: .init(code: reply.status), headerFields: headers)
        guard !isHead, reply.status != 304 else { return (head, ResponseBody()) }
        guard let rest = reply.rest else { return (head, ResponseBody(byteBuffer: content)) }
        let body = ResponseBody { writer in
            try await writer.write(content)
            while let part = try await rest() { try await writer.write(ByteBuffer(string: part)) }
            try await writer.finish(nil)
        }
        return (head, body)
    }
}
