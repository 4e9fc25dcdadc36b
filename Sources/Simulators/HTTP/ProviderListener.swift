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
    ///   - allowsHTTP1: offers `http/1.1` beside `h2`.
    static func start(
        host: String, port: Int, group: any EventLoopGroup, certificates: SimulatedCertificates, allowsHTTP1: Bool,
        responder: any ProviderResponder
    ) async throws -> ProviderListener {
        let tls = try certificates.serverContext(protocols: allowsHTTP1 ? ["h2", "http/1.1"] : ["h2"])
        let connections = Connections()
        let server = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 512)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard connections.add(channel) else { throw SimulatorError("too many connections") }
                    responder.note(.opened)
                    channel.closeFuture.whenComplete { _ in
                        connections.remove(channel)
                        responder.note(.closed)
                    }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(AbruptEnd(responder: responder))
                    try pipeline.addHandler(NIOSSLServerHandler(context: tls))
                    try pipeline.addHandler(
                        ApplicationProtocolNegotiationHandler { result, channel in
                            channel.eventLoop.makeCompletedFuture {
                                try negotiated(result, channel, allowsHTTP1: allowsHTTP1, responder: responder)
                            }
                        })
                }
            }
            .bind(host: host, port: port).get()
        guard let bound = server.localAddress?.port else { throw SimulatorError("the port is not known") }
        return ProviderListener(server: server, port: bound, connections: connections)
    }

    private static func negotiated(
        _ result: ALPNResult, _ channel: any Channel, allowsHTTP1: Bool, responder: any ProviderResponder
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        switch result {
        case .negotiated("h2"):
            try pipeline.addHandler(GoAwayWriter())
            try pipeline.addHandler(HTTP2Connection.http2Handler(limits: responder.limits))
            try pipeline.addHandler(HTTP2Connection(responder: responder))
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
