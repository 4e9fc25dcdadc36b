import HTTPEdge
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import NIOTLS
import Synchronization

/// A look-alike's TLS port and the connections to it.
final class ProviderListener: Sendable {
    /// The port that was bound.
    let port: Int
    private let server: any Channel
    private let connections: Connections

    private final class Connections: Sendable {
        private let open = Mutex<[ObjectIdentifier: any Channel]>([:])
        static let most = 4096

        /// False when there are too many.
        func add(_ channel: any Channel) -> Bool {
            open.withLock {
                guard $0.count < Self.most else { return false }
                $0[ObjectIdentifier(channel)] = channel
                return true
            }
        }

        func remove(_ channel: any Channel) { open.withLock { $0[ObjectIdentifier(channel)] = nil } }
        var all: [any Channel] { open.withLock { Array($0.values) } }
    }

    private init(server: any Channel, port: Int, connections: Connections) {
        self.server = server
        self.port = port
        self.connections = connections
    }

    /// - Parameters:
    ///   - port: 0: any free one.
    ///   - flag: what sets the port.
    ///   - allowsHTTP1: offers `http/1.1` beside `h2`.
    static func start(
        host: String, port: Int, flag: String, group: any EventLoopGroup, logger: Logger,
        certificates: SimulatedCertificates,
        allowsHTTP1: Bool,
        responder: any ProviderResponder
    ) async throws -> ProviderListener {
        let tls = try certificates.serverContext(protocols: allowsHTTP1 ? ["h2", "http/1.1"] : ["h2"])
        let connections = Connections()
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 512)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try AcceptGuard.add(to: channel, book: nil, logger: logger)
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let faults = responder.faults
                    if faults.refusesConnections { throw SimulatorError("connections are refused") }
                    guard connections.add(channel) else { throw SimulatorError("too many connections") }
                    responder.note(.opened)
                    channel.closeFuture.whenComplete { _ in
                        connections.remove(channel)
                        responder.note(.closed)
                    }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(AbruptEnd(responder: responder))
                    if faults.slowTLSMs > 0 { try pipeline.addHandler(LateReader(milliseconds: faults.slowTLSMs)) }
                    try pipeline.addHandler(NIOSSLServerHandler(context: tls))
                    try pipeline.addHandler(
                        ApplicationProtocolNegotiationHandler { result, channel in
                            channel.eventLoop.makeCompletedFuture {
                                try negotiated(result, channel, allowsHTTP1: allowsHTTP1, responder: responder)
                            }
                        })
                }
            }
        let server = try await opening(host: host, port: port, flag: flag) {
            try await bootstrap.bind(host: host, port: port).get()
        }
        guard let bound = server.localAddress?.port else { throw SimulatorError("the port is not known") }
        return ProviderListener(server: server, port: bound, connections: connections)
    }

    /// Says what to do about a port that cannot be opened.
    static func opening<Value: Sendable>(
        host: String, port: Int, flag: String, _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let error as IOError {
            throw SimulatorError(
                "simulator \(host):\(port) cannot be opened (\(error)): is another process using it? Set \(flag)")
        }
    }

    private static func negotiated(
        _ result: ALPNResult, _ channel: any Channel, allowsHTTP1: Bool, responder: any ProviderResponder
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        switch result {
        case .negotiated("h2"):
            try pipeline.addHandler(GoAwayWriter())
            let faults = responder.faults
            var limits = responder.limits
            if faults.maxStreams > 0 {
                limits.streams = faults.maxStreams
                limits.firstStreams = min(limits.firstStreams, faults.maxStreams)
            }
            try pipeline.addHandler(ProviderHTTP2Connection.http2Handler(limits: limits, window: faults.streamWindow))
            try pipeline.addHandler(ProviderHTTP2Connection(responder: responder, limits: limits, faults: faults))
        case .negotiated("http/1.1") where allowsHTTP1, .fallback where allowsHTTP1:
            try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: true)
            try pipeline.addHandler(HTTP1Connection(responder: responder))
        default: throw SimulatorError("the client does not speak HTTP/2")
        }
    }

    /// Sends GOAWAY on every connection.
    func goAway() { order(.goAway) }

    /// Ends every connection without a word.
    func cut() { order(.cut) }

    private func order(_ order: ConnectionOrder) {
        for channel in connections.all { channel.triggerUserOutboundEvent(order, promise: nil) }
    }

    /// Takes no more connections and ends those that are.
    func close() async {
        try? await server.close()
        for channel in connections.all { try? await channel.close() }
    }
}

/// Stands in front of TLS, so that a cut is one: no close_notify, no waiting for the peer's.
private final class AbruptEnd: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private let responder: any ProviderResponder

    init(responder: any ProviderResponder) { self.responder = responder }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        if case .cut? = event as? ConnectionOrder {
            responder.note(.cut)
            context.close(promise: promise)
        } else {
            context.triggerUserOutboundEvent(event, promise: promise)
        }
    }
}

/// Lets nothing in for a while: a server that is slow to begin with TLS.
private final class LateReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private let milliseconds: Int
    private var kept: [ByteBuffer]? = []

    init(milliseconds: Int) { self.milliseconds = milliseconds }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: .milliseconds(Int64(milliseconds))) {
            let (reader, context) = bound.value
            let kept = reader.kept ?? []
            reader.kept = nil
            for buffer in kept { context.fireChannelRead(reader.wrapInboundOut(buffer)) }
            context.fireChannelReadComplete()
        }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if kept == nil {
            context.fireChannelRead(data)
        } else {
            kept?.append(unwrapInboundIn(data))
        }
    }
}
