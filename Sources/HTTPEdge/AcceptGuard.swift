public import Logging
public import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Stands first in a listening socket's pipeline, so that no failure of `accept` ends the listener.
///
/// Without it an `accept` that fails for want of file descriptors ends the stream of connections, and with it the server. With
/// it the longest idle connections are closed and accepting pauses for a moment; the kernel keeps who waits.
public final class AcceptGuard: ChannelDuplexHandler {
    public typealias InboundIn = any Channel
    public typealias InboundOut = any Channel
    public typealias OutboundIn = Never

    private static let pause = TimeAmount.milliseconds(100)
    /// Sockets accepted beyond the book's bound, while those closed for them go.
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
    /// - Parameter book: of its connections; nil: none are closed to make room.
    public static func install(on channel: any Channel, book: ConnectionBook?, logger: Logger) async {
        // Fails for a socket that is closed already: then nothing is accepted.
        try? await channel.eventLoop.submit { try add(to: channel, book: book, logger: logger) }.get()
    }

    /// As ``install(on:book:logger:)``, on the socket's event loop.
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
        // Gone before it was accepted: nothing is short.
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
        // The socket stays readable: NIO would try, and fail, without a rest.
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
