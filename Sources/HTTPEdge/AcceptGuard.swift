public import Logging
public import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The first handler in the pipeline of a listening socket. It keeps the listener running when `accept` fails.
/// Without it, an `accept` that finds no file descriptor ends the stream of connections and therefore the server. With
/// it, the connections that have been idle longest are closed, and accepting pauses for a moment. The kernel keeps the
/// waiting connections.
public final class AcceptGuard: ChannelDuplexHandler {
    public typealias InboundIn = any Channel
    public typealias InboundOut = any Channel
    public typealias OutboundIn = Never

    private static let pause = TimeAmount.milliseconds(100)
    /// Sockets that may be accepted above the book's bound while the connections that were closed for them are still
    /// closing.
    private static let slack = 32

    private let book: ConnectionBook?
    private let logger: Logger
    private var open = 0
    private var isPaused = false
    private var isReadHeld = false
    private var quietUntil = NIODeadline.uptimeNanoseconds(0)

    init(book: ConnectionBook?, logger: Logger) {
        self.book = book
        self.logger = logger
    }

    /// Guards a listening socket.
    /// - Parameter book: the book of the listener's connections; nil: no connection is closed to make room.
    public static func install(on channel: any Channel, book: ConnectionBook?, logger: Logger) async {
        // This fails for a socket that is already closed, which accepts nothing.
        try? await channel.eventLoop.submit { try add(to: channel, book: book, logger: logger) }.get()
    }

    /// Like ``install(on:book:logger:)``, but called on the socket's event loop.
    public static func add(to channel: any Channel, book: ConnectionBook?, logger: Logger) throws {
        try channel.pipeline.syncOperations.addHandler(AcceptGuard(book: book, logger: logger), position: .first)
    }

    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        open += 1
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        unwrapInboundIn(data).closeFuture.hop(to: context.eventLoop).whenComplete { _ in
            let (handler, context) = bound.value
            handler.open -= 1
            handler.resume(context)
        }
        context.fireChannelRead(data)
    }

    public func read(context: ChannelHandlerContext) {
        guard !isPaused, open < most else {
            isReadHeld = true
            return
        }
        context.read()
    }

    private var most: Int { book.map { $0.bounds.connections + Self.slack } ?? .max }

    private func resume(_ context: ChannelHandlerContext) {
        guard isReadHeld, !isPaused, open < most else { return }
        isReadHeld = false
        context.read()
    }

    public func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let failure = error as? IOError, Self.isPassing(failure.errnoCode) else {
            return context.fireErrorCaught(error)
        }
        // The client closed the connection before it was accepted; no resource is exhausted.
        if failure.errnoCode == ECONNABORTED { return }
        book?.closeIdle(8)
        if quietUntil < .now() {
            quietUntil = .now() + .seconds(60)
            logger.error(
                "connections cannot be accepted: the longest idle ones are closed; raise the limit of open files",
                metadata: [
                    "error": "\(failure)", "address": "\(context.channel.localAddress.map { "\($0)" } ?? "")",
                    "limit": "\(OpenFiles.limit)",
                ])
        }
        guard !isPaused else { return }
        isPaused = true
        // The socket stays readable, so NIO would call `accept` and fail in a loop.
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        isReadHeld = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.pause) {
            let (handler, context) = bound.value
            handler.isPaused = false
            try? context.channel.syncOptions?.setOption(.autoRead, value: true)
            handler.resume(context)
        }
    }

    private static func isPassing(_ code: CInt) -> Bool {
        [EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED].contains(code)
    }
}

@available(*, unavailable)
extension AcceptGuard: Sendable {}
