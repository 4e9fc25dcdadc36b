import NIOCore
import NIOPosix

/// A network between a client and a server on one machine: passes bytes on after a time, each way, in their order.
final class DelayProxy: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let listener: any Channel

    /// - Parameter delay: each way.
    init(host: String, port: Int, delay: TimeAmount) async throws {
        let group = group
        listener = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { client in
                // Both are on the one event loop.
                ClientBootstrap(group: client.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .connect(host: host, port: port)
                    .flatMap { server in
                        client.eventLoop.makeCompletedFuture {
                            try client.pipeline.syncOperations.addHandler(DelayedPass(to: server, delay))
                            try server.pipeline.syncOperations.addHandler(DelayedPass(to: client, delay))
                        }
                        .flatMap {
                            client.setOption(.autoRead, value: true).and(server.setOption(.autoRead, value: true))
                        }
                        .map { _ in }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    var port: Int { listener.localAddress?.port ?? 0 }

    func close() async throws {
        try await listener.close()
        try await group.shutdownGracefully()
    }
}

/// One direction of a connection.
private final class DelayedPass: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let delay: TimeAmount

    init(to other: any Channel, _ delay: TimeAmount) {
        self.other = other
        self.delay = delay
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let (other, bytes) = (other, unwrapInboundIn(data))
        context.eventLoop.scheduleTask(in: delay) { other.writeAndFlush(bytes, promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let other = other
        context.eventLoop.scheduleTask(in: delay) { other.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
