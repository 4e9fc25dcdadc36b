import NIOCore
import NIOHPACK
import NIOHTTP2

/// Orders to a connection from outside, as outbound user events.
enum ConnectionOrder: Sendable {
    case goAway
    /// Ends the connection without a word, not even TLS's.
    case cut
}

/// A GOAWAY that is to be written by ``GoAwayWriter``.
struct GoAwayFrame: Sendable {
    var lastStream: HTTP2StreamID
}

/// Writes GOAWAY past `NIOHTTP2Handler`, which (1.46) takes the DATA of streams above its own GOAWAY for a protocol
/// error and ends the connection with everything in flight; a peer cannot help sending it.
final class GoAwayWriter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let goAway = event as? GoAwayFrame else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        var frame = context.channel.allocator.buffer(capacity: 17)
        // Length 8, type 7, no flags, stream 0; last stream, NO_ERROR (RFC 9113, 6.8).
        frame.writeBytes([0, 0, 8, 7, 0, 0, 0, 0, 0])
        frame.writeInteger(UInt32(Int(goAway.lastStream)))
        frame.writeInteger(UInt32(0))
        context.writeAndFlush(wrapOutboundOut(frame), promise: promise)
    }
}

/// The server's end of one HTTP/2 connection: all its streams in one handler, because a channel per stream costs
/// several times the CPU of the push itself.
///
/// Stands behind an `NIOHTTP2Handler` without multiplexer, which keeps the protocol's rules and sends what waits for
/// the peer's windows. Only used on its event loop.
final class ProviderHTTP2Connection: ChannelDuplexHandler {
    typealias InboundIn = HTTP2Frame
    typealias OutboundIn = Never
    typealias OutboundOut = HTTP2Frame

    private struct Incoming {
        var headers: HPACKHeaders
        var body: ByteBuffer?
        var bodyLength = 0
        var isComplete = false
    }

    private let responder: any ProviderResponder
    private let limits: ConnectionLimits
    private var streams: [HTTP2StreamID: Incoming] = [:]
    private var streamCount = 0
    private var lastStream = HTTP2StreamID.rootStream
    private var isAuthenticated = false
    private var hasGreeted = false
    private var isLeaving = false
    private var isReading = false
    private var unacknowledgedBytes = 0

    /// The connection's window is widened by this much at first and whenever half of it is used: it never holds a push
    /// up.
    private static let window = 1 << 30

    /// Zero: HTTP/2's own, never widened.
    private let streamWindow: Int
    private let windowDelayMs: Int

    init(responder: any ProviderResponder, limits: ConnectionLimits, faults: ProviderFaults) {
        self.responder = responder
        self.limits = limits
        streamWindow = faults.streamWindow
        windowDelayMs = faults.windowDelayMs
    }

    /// - Parameter window: bytes of a stream's window; 0: HTTP/2's own.
    static func http2Handler(limits: ConnectionLimits, window: Int = 0) -> NIOHTTP2Handler {
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: limits.firstStreams),
            HTTP2Setting(parameter: .maxHeaderListSize, value: 16_384),
        ]
        if window > 0 {
            connection.initialSettings.append(
                HTTP2Setting(parameter: .initialWindowSize, value: min(window, 2_147_483_647)))
        }
        // Clients reset streams at their deadlines, and open some above a GOAWAY: neither is an attack here.
        connection.maximumConnectionGlitches = .max
        // DATA of a stream that was refused is on its way already; NIOHTTP2 forgives it for so many streams only.
        connection.maximumRecentlyResetStreams = 4096
        connection.controlFrameRateLimit.maximumCount = 100_000
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.streamResetFrameRateLimit.maximumCount = 1_000_000
        stream.streamErrorRateLimit.maximumCount = 1_000_000
        return NIOHTTP2Handler(mode: .server, connectionConfiguration: connection, streamConfiguration: stream)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        let frame = unwrapInboundIn(data)
        switch frame.payload {
        case .headers(let content):
            if streams[frame.streamID] == nil {
                guard open(frame.streamID, content.headers, context) else { return }
            }
            if content.endStream { complete(frame.streamID, context) }
        case .data(let content):
            if case .byteBuffer(let bytes) = content.data {
                receive(bytes, frame.streamID, context)
            }
            if content.endStream { complete(frame.streamID, context) }
        case .settings(.settings) where !hasGreeted:
            hasGreeted = true
            widenWindow(context)
        default: break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        context.flush()
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        // Answers that were to come later find nothing to answer.
        streams.removeAll()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let closed = event as? StreamClosedEvent {
            streams[closed.streamID] = nil
            leaveIfDone(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        if case .goAway? = event as? ConnectionOrder {
            goAway(context)
            context.flush()
            promise?.succeed()
        } else {
            context.triggerUserOutboundEvent(event, promise: promise)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // One stream's trouble stays that stream's; NIOHTTP2 has reset it.
        if error is NIOHTTP2Errors.StreamError || error is NIOHTTP2Errors.NoSuchStream { return }
        context.close(promise: nil)
    }

    private func open(_ id: HTTP2StreamID, _ headers: HPACKHeaders, _ context: ChannelHandlerContext) -> Bool {
        // Above the GOAWAY: not looked at, not answered; the client knows that it may send it elsewhere.
        if isLeaving { return false }
        streamCount += 1
        lastStream = max(lastStream, id)
        if !isAuthenticated, streams.count >= limits.firstStreams {
            responder.note(.earlyStream)
            context.write(wrapOutboundOut(HTTP2Frame(streamID: id, payload: .rstStream(.refusedStream))), promise: nil)
            return false
        }
        streams[id] = Incoming(headers: headers)
        switch responder.streamOpened(count: streamCount) {
        case .serve: return true
        case .serveAsLast:
            goAway(context)
            return true
        case .cutConnection:
            context.triggerUserOutboundEvent(ConnectionOrder.cut, promise: nil)
            return false
        }
    }

    private func receive(_ bytes: ByteBuffer, _ id: HTTP2StreamID, _ context: ChannelHandlerContext) {
        unacknowledgedBytes += bytes.readableBytes
        if unacknowledgedBytes > Self.window / 2 {
            unacknowledgedBytes = 0
            widenWindow(context, by: Self.window / 2)
        }
        guard var incoming = streams.removeValue(forKey: id) else { return }
        incoming.bodyLength += bytes.readableBytes
        if incoming.bodyLength <= limits.longestBody {
            if incoming.body == nil {
                incoming.body = bytes
            } else {
                incoming.body?.writeImmutableBuffer(bytes)
            }
        }
        streams[id] = incoming
        if streamWindow > 0, !incoming.isComplete, bytes.readableBytes > 0 {
            widenStream(id, bytes.readableBytes, context)
        }
        // Past it the stream's own window is not widened: the client would wait for ever.
        if incoming.bodyLength >= max(65_535, streamWindow) { complete(id, context) }
    }

    private func complete(_ id: HTTP2StreamID, _ context: ChannelHandlerContext) {
        guard let incoming = streams[id], !incoming.isComplete else { return }
        streams[id]?.isComplete = true
        let headers = incoming.headers
        let action = responder.respond(
            to: ProviderRequest(
                method: headers.first(name: ":method") ?? "", path: headers.first(name: ":path") ?? "",
                headers: headers, body: incoming.body ?? ByteBuffer(), bodyLength: incoming.bodyLength))
        switch action {
        case .silence: break
        case .reset:
            context.write(wrapOutboundOut(HTTP2Frame(streamID: id, payload: .rstStream(.internalError))), promise: nil)
        case .reply(let reply, let delayMs) where delayMs > 0:
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: .milliseconds(Int64(delayMs))) {
                let (connection, context) = bound.value
                connection.write(reply, id, context)
                if !connection.isReading { context.flush() }
            }
        case .reply(let reply, _): write(reply, id, context)
        }
    }

    private func write(_ reply: ProviderReply, _ id: HTTP2StreamID, _ context: ChannelHandlerContext) {
        guard streams[id] != nil else { return }
        if reply.isAuthenticated, !isAuthenticated { allowMoreStreams(context) }
        var headers = HPACKHeaders()
        headers.reserveCapacity(reply.headers.count + 2)
        headers.add(name: ":status", value: String(reply.status))
        for header in reply.headers {
            headers.add(name: header.name, value: header.value, indexing: .nonIndexable)
        }
        if !reply.body.isEmpty {
            headers.add(name: "content-length", value: String(reply.body.count), indexing: .nonIndexable)
        }
        let head = HTTP2Frame.FramePayload.Headers(headers: headers, endStream: reply.body.isEmpty)
        context.write(wrapOutboundOut(HTTP2Frame(streamID: id, payload: .headers(head))), promise: nil)
        if !reply.body.isEmpty {
            let body = HTTP2Frame.FramePayload.Data(
                data: .byteBuffer(context.channel.allocator.buffer(bytes: reply.body)), endStream: true)
            context.write(wrapOutboundOut(HTTP2Frame(streamID: id, payload: .data(body))), promise: nil)
        }
    }

    /// In front of the answer: AsyncHTTPClient 1.37 trips over new settings on a connection that is idle.
    private func allowMoreStreams(_ context: ChannelHandlerContext) {
        isAuthenticated = true
        guard limits.streams != limits.firstStreams else { return }
        let settings = [HTTP2Setting(parameter: .maxConcurrentStreams, value: limits.streams)]
        context.write(
            wrapOutboundOut(HTTP2Frame(streamID: .rootStream, payload: .settings(.settings(settings)))), promise: nil)
    }

    private func widenWindow(_ context: ChannelHandlerContext, by bytes: Int = window) {
        context.write(
            wrapOutboundOut(HTTP2Frame(streamID: .rootStream, payload: .windowUpdate(windowSizeIncrement: bytes))),
            promise: nil)
    }

    private func widenStream(_ id: HTTP2StreamID, _ bytes: Int, _ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: .milliseconds(Int64(windowDelayMs))) {
            let (connection, context) = bound.value
            guard let incoming = connection.streams[id], !incoming.isComplete else { return }
            let update = HTTP2Frame(streamID: id, payload: .windowUpdate(windowSizeIncrement: bytes))
            context.writeAndFlush(connection.wrapOutboundOut(update), promise: nil)
        }
    }

    private func goAway(_ context: ChannelHandlerContext) {
        guard !isLeaving else { return }
        isLeaving = true
        responder.note(.goAway)
        context.triggerUserOutboundEvent(GoAwayFrame(lastStream: lastStream), promise: nil)
        leaveIfDone(context)
    }

    /// Closes a moment after the last answer: closing at once, with what the client still sent unread, would make TCP
    /// throw the last answers away.
    private func leaveIfDone(_ context: ChannelHandlerContext) {
        guard isLeaving, streams.isEmpty else { return }
        let channel = context.channel
        context.eventLoop.scheduleTask(in: .milliseconds(500)) { channel.close(promise: nil) }
    }
}
