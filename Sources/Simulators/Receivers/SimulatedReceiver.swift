import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// A request as a simulated receiver sees it.
public struct ReceivedRequest: Sendable {
    public let method: String
    /// Path and query.
    public let target: String
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]
    /// Counts the receiver's connections, from 1.
    public let connection: Int

    /// The last header of that name, whatever its case.
    public func header(_ name: String) -> String? {
        headers.last { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// What a simulated receiver does with a request.
public enum ReceiverAnswer: Sendable {
    case status(Int, headers: [(name: String, value: String)] = [], body: String = "", after: Duration = .zero)
    /// Keeps the connection open, and says nothing.
    case hang
    /// Closes the connection without a word.
    case close
    /// Status 200, and then a byte of the body each time, without an end.
    case trickle(every: Duration)
    /// These bytes in place of an answer, then the end.
    case raw(String)
}

/// An HTTP/1.1 server with TLS that stands for a customer's: it takes posts, and does what its script says.
public final class SimulatedReceiver: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let channel = Mutex<(any Channel)?>(nil)
    private let connections = Mutex<[ObjectIdentifier: any Channel]>([:])
    private let opened = Atomic(0)
    private let certificates: SimulatedCertificates?
    private let clients: SimulatedCertificates?
    private let script: @Sendable (ReceivedRequest) -> ReceiverAnswer

    /// - Parameters:
    ///   - certificates: nil: clear text.
    ///   - clients: whose certificate a client must show; nil: it need not show any.
    ///   - script: called on the receiver's own thread, once for each request.
    public init(
        certificates: SimulatedCertificates?, clients: SimulatedCertificates? = nil,
        script: @escaping @Sendable (ReceivedRequest) -> ReceiverAnswer
    ) {
        self.certificates = certificates
        self.clients = clients
        self.script = script
    }

    /// Connections taken so far.
    public var connectionCount: Int { opened.load(ordering: .relaxed) }

    /// Listens.
    /// - Parameter port: 0: any free one.
    /// - Returns: the port.
    @discardableResult
    public func start(host: String = "127.0.0.1", port: Int = 0) async throws -> Int {
        let tls = try certificates?.serverContext(protocols: ["http/1.1"], clients: clients)
        let server = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [self] channel in
                let number = opened.add(1, ordering: .relaxed).newValue
                connections.withLock { $0[ObjectIdentifier(channel)] = channel }
                channel.closeFuture.whenComplete { [self] _ in
                    connections.withLock { $0[ObjectIdentifier(channel)] = nil }
                }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
                    try pipeline.addHandler(ReceiverHandler(connection: number, script: script))
                }
            }
            .bind(host: host, port: port).get()
        channel.withLock { $0 = server }
        return server.localAddress?.port ?? 0
    }

    /// Closes every connection, and takes no more until it is started again: a receiver that is down.
    public func goDown() async {
        let server = channel.withLock { channel in
            defer { channel = nil }
            return channel
        }
        try? await server?.close().get()
        for connection in connections.withLock({ Array($0.values) }) { connection.close(promise: nil) }
    }

    public func stop() async {
        await goDown()
        try? await group.shutdownGracefully()
    }
}

private final class ReceiverHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let connection: Int
    private let script: @Sendable (ReceivedRequest) -> ReceiverAnswer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    init(connection: Int, script: @escaping @Sendable (ReceivedRequest) -> ReceiverAnswer) {
        self.connection = connection
        self.script = script
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
        case .body(let part): body += part.readableBytesView
        case .end:
            guard let head else { return }
            let request = ReceivedRequest(
                method: head.method.rawValue, target: head.uri,
                headers: head.headers.map { (name: $0.name, value: $0.value) }, body: body,
                connection: connection)
            answer(script(request), context, isKeepAlive: head.isKeepAlive)
        }
    }

    private func answer(_ answer: ReceiverAnswer, _ context: ChannelHandlerContext, isKeepAlive: Bool) {
        switch answer {
        case .hang: break
        case .close: context.close(promise: nil)
        case .trickle(let pause):
            context.writeAndFlush(
                wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok))), promise: nil)
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: TimeAmount(pause)) { task in
                let (handler, context) = bound.value
                guard context.channel.isActive else { return task.cancel() }
                context.writeAndFlush(
                    handler.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: "x")))), promise: nil)
            }
        case .raw(let text):
            let channel = context.channel
            // Around the encoder, which would not let it pass.
            context.pipeline.context(handlerType: HTTPResponseEncoder.self).whenSuccess { encoder in
                encoder.writeAndFlush(NIOAny(ByteBuffer(string: text)), promise: nil)
                channel.close(promise: nil)
            }
        case .status(let status, let headers, let body, let delay):
            guard delay > .zero else { return write(status, headers, body, context, isKeepAlive) }
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: TimeAmount(delay)) {
                let (handler, context) = bound.value
                guard context.channel.isActive else { return }
                handler.write(status, headers, body, context, isKeepAlive)
            }
        }
    }

    private func write(
        _ status: Int, _ headers: [(name: String, value: String)], _ body: String, _ context: ChannelHandlerContext,
        _ isKeepAlive: Bool
    ) {
        var fields = HTTPHeaders(headers.map { ($0.name, $0.value) })
        fields.replaceOrAdd(name: "Content-Length", value: String(body.utf8.count))
        let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: status), headers: fields)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !body.isEmpty { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !isKeepAlive { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
