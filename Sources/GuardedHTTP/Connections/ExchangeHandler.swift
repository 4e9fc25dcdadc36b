import NIOCore
import NIOHTTP1
import NIOSSL
import NIOTLS
import Wire

/// One HTTP/1.1 connection: an exchange at a time, each with a timeout that starts anew with every part of the answer,
/// and a deadline for the whole. On the connection's event loop only.
final class ExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    /// A body above this ends the connection: what it says is in its first bytes.
    private static let mostBody = 65_536

    /// Tells the exchanges of a connection apart. On the connection's event loop only.
    final class Exchange {
        fileprivate var isCancelled = false
    }

    /// Succeeds when a request may be sent: at once, or after the TLS handshake.
    let ready: EventLoopPromise<Void>
    private let isTLS: Bool
    private var pending: EventLoopPromise<HTTPAnswer>?
    /// The exchange that was sent last.
    private var current: Exchange?
    private var answer: HTTPAnswer?
    private var bodyCount = 0
    private var staysOpen = false
    private var readTimeout = TimeAmount.seconds(15)
    private var deadline = NIODeadline.distantFuture
    private var timer: Scheduled<Void>?
    private var context: ChannelHandlerContext?

    init(isTLS: Bool, ready: EventLoopPromise<Void>) {
        self.isTLS = isTLS
        self.ready = ready
    }

    /// Whether another exchange may follow the one that has ended.
    var isReusable: Bool { context != nil && pending == nil && staysOpen }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        fail(.closed)
    }

    func channelActive(context: ChannelHandlerContext) {
        if !isTLS { ready.succeed() }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSUserEvent, case .handshakeCompleted = event { ready.succeed() }
        context.fireUserInboundEventTriggered(event)
    }

    /// Sends a request. One at a time.
    /// - Parameters:
    ///   - exchange: a new one, for ``cancel(_:)``.
    ///   - readTimeout: to the answer, and between its parts.
    ///   - end: for the whole answer, however it trickles.
    func send(
        _ head: HTTPRequestHead, _ body: ByteBuffer, as exchange: Exchange, readTimeout: TimeAmount,
        until end: NIODeadline
    ) -> EventLoopFuture<HTTPAnswer> {
        guard let context, context.channel.isActive, pending == nil else {
            return ready.futureResult.eventLoop.makeFailedFuture(GuardedHTTPError.closed)
        }
        guard !exchange.isCancelled else {
            return context.eventLoop.makeFailedFuture(GuardedHTTPError.cancelled)
        }
        let promise = context.eventLoop.makePromise(of: HTTPAnswer.self)
        pending = promise
        current = exchange
        answer = nil
        bodyCount = 0
        staysOpen = false
        (self.readTimeout, self.deadline) = (readTimeout, end)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        restartTimer(context)
        return promise.futureResult
    }

    private func restartTimer(_ context: ChannelHandlerContext) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: min(.now() + readTimeout, deadline)) {
            self.end(.readTimeout)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard pending != nil else {
            // An answer that nobody asked for: what follows could be taken for the next one's.
            return context.close(promise: nil)
        }
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard head.status.code >= 200 else { return }
            answer = Self.answer(head)
            staysOpen = head.isKeepAlive
            restartTimer(context)
        case .body(let part):
            bodyCount += part.readableBytes
            if let kept = answer?.body.count, kept < HTTPAnswer.keptBytes {
                answer?.body += part.readableBytesView.prefix(HTTPAnswer.keptBytes - kept)
            }
            guard bodyCount > Self.mostBody else { return restartTimer(context) }
            staysOpen = false
            finish()
            context.close(promise: nil)
        case .end:
            finish()
            if !staysOpen { context.close(promise: nil) }
        }
    }

    private static func answer(_ head: HTTPResponseHead) -> HTTPAnswer {
        var answer = HTTPAnswer(status: Int(head.status.code))
        answer.retryAfter = head.headers.first(name: "retry-after").flatMap(retryAfter)
        answer.allowedOrigin = head.headers.first(name: "webhook-allowed-origin").map { String($0.prefix(253)) }
        answer.allowedRate = head.headers.first(name: "webhook-allowed-rate").map { String($0.prefix(253)) }
        answer.delivery = head.headers.first(name: "webhook-delivery").map { String($0.lowercased().prefix(32)) }
        return answer
    }

    /// At most a year.
    private static func retryAfter(_ text: String) -> Duration? {
        RetryAfter.milliseconds(text.utf8, nowMs: Timestamp.nowMs(), most: .seconds(31_536_000)).map {
            .milliseconds($0)
        }
    }

    private func finish() {
        timer?.cancel()
        guard let promise = pending, let answer else { return }
        pending = nil
        promise.succeed(answer)
    }

    private func fail(_ error: GuardedHTTPError) {
        timer?.cancel()
        ready.fail(error)
        guard let promise = pending else { return }
        pending = nil
        // What has come says enough: a receiver that closes early has still answered.
        if let answer { promise.succeed(answer) } else { promise.fail(error) }
    }

    /// Ends this exchange at once, if it has not ended, and closes the connection. The exchange does not wait for the
    /// close: with TLS, that waits 5 s for a peer that does not answer it.
    func cancel(_ exchange: Exchange) {
        exchange.isCancelled = true
        guard pending != nil, current === exchange else { return }
        end(.cancelled)
    }

    private func end(_ error: GuardedHTTPError) {
        staysOpen = false
        let context = context
        if answer != nil, case .readTimeout = error { answer = nil }
        fail(error)
        context?.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(.closed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(Self.reason(of: error))
    }

    static func reason(of error: any Error) -> GuardedHTTPError {
        if let error = error as? GuardedHTTPError { return error }
        if error is HTTPParserError { return .notHTTP("\(error)") }
        if let extra = error as? NIOSSLExtraError, extra == .failedToValidateHostname { return .tls(.name, "\(error)") }
        if error is NIOSSLExtraError || error is NIOSSLError || error is BoringSSLError {
            let text = "\(error)"
            if case .uncleanShutdown? = error as? NIOSSLError { return .closed }
            return .tls(text.contains("CERTIFICATE_VERIFY_FAILED") ? .certificate : .other, String(text.prefix(200)))
        }
        if let error = error as? ChannelError, case .connectTimeout = error { return .connectTimeout }
        return .connect(String("\(error)".prefix(200)))
    }
}
