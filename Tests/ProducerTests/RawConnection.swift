import NIOCore
import NIOPosix
import Synchronization

/// Bytes to and from a server, as they are.
final class RawConnection: Sendable {
    private let channel: any Channel
    private let received: Received

    private final class Received: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let bytes = Mutex<[UInt8]>([])
        let ended = Atomic(false)

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            bytes.withLock { $0.append(contentsOf: buffer.readableBytesView) }
        }

        func channelInactive(context: ChannelHandlerContext) { ended.store(true, ordering: .releasing) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    /// - Parameter source: the address to call from; every one of 127.0.0.0/8 is this machine's.
    init(port: Int, from source: String = "127.0.0.1") async throws {
        received = Received()
        channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelInitializer { [received] channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(received) }
            }
            .bind(to: SocketAddress(ipAddress: source, port: 0))
            .connect(host: "127.0.0.1", port: port).get()
    }

    func send(_ text: String) async throws { try await channel.writeAndFlush(ByteBuffer(string: text)) }
    func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

    var bytes: [UInt8] { received.bytes.withLock { $0 } }
    var text: String { String(decoding: bytes, as: UTF8.self) }
    /// The server has closed.
    var isEnded: Bool { received.ended.load(ordering: .acquiring) }

    /// Everything until the server closes.
    func whole() async throws -> String {
        try await becomesTrue("the server closes") { isEnded }
        return text
    }

    /// Waits for a text to come.
    func reads(_ part: String) async throws { try await becomesTrue("\(part) in \(text)") { text.contains(part) } }

    func close() async throws { try await channel.close() }
}
