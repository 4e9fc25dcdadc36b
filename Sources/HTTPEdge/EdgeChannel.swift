import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL

/// Bounds of a listener and of each of its connections.
public struct EdgeLimits: Sendable {
    /// From a connection, its TLS included, to the head of its first request; default 15 s.
    public var headDeadline: Duration = .seconds(15)
    /// From a head to the end of its body; default 10 s.
    public var bodyDeadline: Duration = .seconds(10)
    /// From a reply's first byte to its last, taken by the socket; default 30 s.
    public var responseDeadline: Duration = .seconds(30)
    /// A connection without a request is closed after this; default 60 s.
    public var idleTimeout: Duration = .seconds(60)
    /// Bytes of all headers; default 32 KB, in 100 fields.
    public var maxHeaders = 32 * 1024
    /// Connections open at once; default 10,000.
    public var maxConnections = 10_000
    /// Of them, of one client address; at most half of ``maxConnections``. Default 2,000, twice the long polls of one key.
    public var maxConnectionsPerAddress = 2000

    public init() {}
}

/// An HTTP/1.1 connection of a listener whose connections are kept in a ``ConnectionBook``.
struct EdgeChannel: ServerChildChannel, HTTPChannelHandler {
    typealias Value = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    let responder: HTTPChannelHandler.Responder
    private let limits: EdgeLimits
    private let book: ConnectionBook
    private let tls: (@Sendable () -> NIOSSLContext)?
    private let refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply

    /// - Parameters:
    ///   - tls: the certificate of the moment; nil: plain HTTP.
    ///   - refuse: what is answered to a request that is not handed on; called on an event loop.
    init(
        responder: @escaping HTTPChannelHandler.Responder, limits: EdgeLimits, book: ConnectionBook,
        tls: (@Sendable () -> NIOSSLContext)? = nil,
        refuse: @escaping @Sendable (HTTPRefusal) -> HTTPRefusalReply
    ) {
        self.tls = tls
        self.responder = responder
        self.limits = limits
        self.book = book
        self.refuse = refuse
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        guard let id = book.admit(channel) else {
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel)
        }
        return channel.eventLoop.makeCompletedFuture {
            var decoder = NIOHTTPDecoderLimitConfiguration()
            decoder.maxHeaderFieldSize = limits.maxHeaders
            decoder.maxHeaderListSize = limits.maxHeaders
            decoder.maxHeaderFieldCount = 100
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(ConnectionCut())
            if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls())) }
            try pipeline.configureHTTPServerPipeline(
                withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
                withEncoderConfiguration: .init(), withDecoderLimitConfiguration: decoder)
            try pipeline.addHandler(
                HTTPGate(
                    deadlines: .init(
                        head: TimeAmount(limits.headDeadline), body: TimeAmount(limits.bodyDeadline),
                        response: TimeAmount(limits.responseDeadline)),
                    book: book, id: id, refuse: refuse))
            try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            try pipeline.addHandler(HTTPConnectionStateHandler(idleTimeout: limits.idleTimeout, logger: logger))
            return try NIOAsyncChannel(
                wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        }
    }

    func handle(value: Value, logger: Logger) async { await handleHTTP(asyncChannel: value, logger: logger) }
}

/// Stands in front of TLS, so that a connection that has to go goes at once: no close_notify, and no waiting for the peer's.
final class ConnectionCut: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    /// Sent down the pipeline.
    struct Order: Sendable {}

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is Order else { return context.triggerUserOutboundEvent(event, promise: promise) }
        context.close(promise: promise)
    }
}

@available(*, unavailable)
extension ConnectionCut: Sendable {}
