import NIOCore
import NIOPosix
import Synchronization

/// A proxy that takes CONNECT and nothing else, or refuses it.
final class TunnelProxy: Sendable {
    let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup
    private let heads: Heads

    final class Heads: Sendable {
        let requests = Mutex<[String]>([])
    }

    /// The requests' heads, in order.
    var requests: [String] { heads.requests.withLock { $0 } }

    private init(channel: any Channel, group: MultiThreadedEventLoopGroup, heads: Heads) {
        self.channel = channel
        self.group = group
        self.heads = heads
        port = channel.localAddress?.port ?? 0
    }

    /// - Parameter answer: the status line when it is not to let anybody through.
    static func run<T>(refusing answer: String? = nil, _ body: (TunnelProxy) async throws -> T) async throws -> T {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let heads = Heads()
        let channel = try await ServerBootstrap(group: group).childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(Entrance(heads: heads, answer: answer))
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        let proxy = TunnelProxy(channel: channel, group: group, heads: heads)
        do {
            let value = try await body(proxy)
            try await channel.close()
            try await group.shutdownGracefully()
            return value
        } catch {
            try await channel.close()
            try await group.shutdownGracefully()
            throw error
        }
    }
}

private final class Entrance: ChannelInboundHandler, @unchecked Sendable {
    // Guarantee: touched on its channel's event loop only; both ends of a tunnel share it.
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let heads: TunnelProxy.Heads
    private let answer: String?
    private var head: [UInt8] = []
    private var other: (any Channel)?

    init(heads: TunnelProxy.Heads, answer: String?) {
        self.heads = heads
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        if let other {
            other.writeAndFlush(buffer, promise: nil)
            return
        }
        head.append(contentsOf: buffer.readableBytesView)
        guard head.suffix(4) == [13, 10, 13, 10] else { return }
        let text = String(decoding: head, as: UTF8.self)
        heads.requests.withLock { $0.append(text) }
        let here = context.channel
        if let answer {
            here.writeAndFlush(ByteBuffer(string: answer + "\r\n\r\n"), promise: nil)
            return
        }
        let port = Int(text.split(separator: " ")[1].split(separator: ":").last ?? "") ?? 0
        ClientBootstrap(group: here.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(FarEnd(near: here)) }
        }.connect(host: "127.0.0.1", port: port).whenSuccess { far in
            self.other = far
            here.writeAndFlush(ByteBuffer(string: "HTTP/1.1 200 Connection established\r\n\r\n"), promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { other?.close(promise: nil) }
}

private final class FarEnd: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let near: any Channel

    init(near: any Channel) { self.near = near }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        near.writeAndFlush(unwrapInboundIn(data), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { near.close(promise: nil) }
}
