import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// An HTTP server on loopback that answers every request with 200 and the JSON of one closure.
final class StubAPI: Sendable {
    typealias Answer = @Sendable (_ method: String, _ path: String, _ body: String) -> String

    private let channel: any Channel
    private let seen: Seen
    let url: String

    /// The paths that were asked for, with their queries, in order.
    var paths: [String] { seen.paths.withLock { $0 } }

    init(_ answer: @escaping Answer) async throws {
        let seen = Seen()
        channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(answer: answer, seen: seen))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        url = "http://127.0.0.1:\(channel.localAddress?.port ?? 0)"
        self.seen = seen
    }

    func close() async throws { try await channel.close() }

    private final class Seen: Sendable {
        let paths = Mutex<[String]>([])
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let answer: Answer
        private let seen: Seen
        private var head: HTTPRequestHead?
        private var body = ""

        init(answer: @escaping Answer, seen: Seen) {
            self.answer = answer
            self.seen = seen
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                self.head = head
                body = ""
            case .body(let part): body += String(buffer: part)
            case .end:
                guard let head else { return }
                seen.paths.withLock { $0.append(head.uri) }
                let content = ByteBuffer(string: answer(head.method.rawValue, head.uri, body))
                let reply = HTTPResponseHead(
                    version: .http1_1, status: .ok, headers: ["content-length": "\(content.readableBytes)"])
                context.write(wrapOutboundOut(.head(reply)), promise: nil)
                context.write(wrapOutboundOut(.body(.byteBuffer(content))), promise: nil)
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            }
        }
    }
}
