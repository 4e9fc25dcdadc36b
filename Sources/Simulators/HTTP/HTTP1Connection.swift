import NIOCore
import NIOHPACK
import NIOHTTP1

/// The server's end of one HTTP/1.1 connection, for token endpoints whose clients may not speak HTTP/2.
final class HTTP1Connection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let responder: any ProviderResponder
    private let limits: ConnectionLimits
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()
    private var bodyLength = 0

    init(responder: any ProviderResponder) {
        self.responder = responder
        limits = responder.limits
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
            bodyLength = 0
        case .body(let bytes):
            bodyLength += bytes.readableBytes
            if bodyLength <= limits.longestBody { body.writeImmutableBuffer(bytes) }
            if bodyLength > 1_048_576 { context.close(promise: nil) }
        case .end: complete(context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func complete(_ context: ChannelHandlerContext) {
        guard let head else { return }
        self.head = nil
        var headers = HPACKHeaders()
        for (name, value) in head.headers { headers.add(name: name.lowercased(), value: value) }
        let action = responder.respond(
            to: ProviderRequest(
                method: head.method.rawValue, path: head.uri, headers: headers, body: body, bodyLength: bodyLength))
        switch action {
        case .silence: break
        case .reset: context.close(promise: nil)
        case .reply(let reply, let delayMs):
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            let keepsAlive = head.isKeepAlive
            if delayMs > 0 {
                context.eventLoop.scheduleTask(in: .milliseconds(Int64(delayMs))) {
                    bound.value.0.write(reply, keepsAlive: keepsAlive, bound.value.1)
                }
            } else {
                write(reply, keepsAlive: keepsAlive, context)
            }
        }
    }

    private func write(_ reply: ProviderReply, keepsAlive: Bool, _ context: ChannelHandlerContext) {
        var head = HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: reply.status))
        for header in reply.headers { head.headers.add(name: header.name, value: header.value) }
        head.headers.add(name: "content-length", value: String(reply.body.count))
        if !keepsAlive { head.headers.add(name: "connection", value: "close") }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(
            wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(bytes: reply.body)))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !keepsAlive { context.close(promise: nil) }
    }
}
