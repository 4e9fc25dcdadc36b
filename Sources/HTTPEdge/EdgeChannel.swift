import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOSSL

/// Bounds of a listener and of each of its connections.
public struct EdgeLimits: Sendable {
    /// Longest time from a new connection, including TLS, to the head of its first request. Default 15 s.
    public var headDeadline: Duration = .seconds(15)
    /// Longest time from the head of a request to the end of its body. Default 10 s.
    public var bodyDeadline: Duration = .seconds(10)
    /// Longest time in which the socket must accept a whole reply. Default 30 s.
    public var responseDeadline: Duration = .seconds(30)
    /// A connection without a request is closed after this time. Default 60 s.
    public var idleTimeout: Duration = .seconds(60)
    /// Maximum size of all headers in bytes. Default 32 KB. A request has at most 100 fields.
    public var maxHeaders = 32 * 1024
    /// Maximum number of open connections. Default 10,000.
    public var maxConnections = 10_000
    /// Maximum number of open connections of one client address, at most half of ``maxConnections``. Default 2,000,
    /// twice the long polls of one key.
    public var maxConnectionsPerAddress = 2000

    public init() {}
}

/// An HTTP/1.1 connection of a listener that keeps its connections in a ``ConnectionBook``.
struct EdgeChannel: ServerChildChannel, HTTPChannelHandler {
    typealias Value = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    let responder: HTTPChannelHandler.Responder
    private let limits: EdgeLimits
    private let book: ConnectionBook
    private let tls: (@Sendable () -> NIOSSLContext)?
    private let refuse: @Sendable (HTTPRefusal) -> HTTPRefusalReply

    /// - Parameters:
    ///   - tls: returns the current certificate; nil: plain HTTP.
    ///   - refuse: writes the reply to a refused request. Called on an event loop.
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

/// Closes a connection at once when it must be closed. It stands before TLS in the pipeline, so that nothing sends
/// close_notify or waits for the peer's.
final class ConnectionCut: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    /// The order to close, which is sent down the pipeline.
    struct Order: Sendable {}

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is Order else { return context.triggerUserOutboundEvent(event, promise: promise) }
        context.close(promise: promise)
    }
}

@available(*, unavailable)
extension ConnectionCut: Sendable {}
