import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL
import NIOTLS
import Testing

@testable import Simulators

/// What an HTTP/2 server sent, frame by frame.
enum Seen: Sendable, Equatable {
    case settings(maxStreams: Int?)
    case answer(stream: Int, status: String)
    case reset(stream: Int, code: HTTP2ErrorCode)
    case goAway(last: Int)
    case closed
}

/// One connection under the test's own control: streams are opened whatever the server allows.
final class RawHTTP2Client: Sendable {
    private let channel: any Channel
    let frames: AsyncStream<Seen>

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame
        typealias OutboundOut = HTTP2Frame
        let out: AsyncStream<Seen>.Continuation
        let first: [HTTP2Frame]
        init(_ out: AsyncStream<Seen>.Continuation, first: [HTTP2Frame]) {
            self.out = out
            self.first = first
        }

        func channelActive(context: ChannelHandlerContext) {
            for frame in first { context.write(wrapOutboundOut(frame), promise: nil) }
            context.flush()
            context.fireChannelActive()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let frame = unwrapInboundIn(data)
            let stream = Int(frame.streamID)
            switch frame.payload {
            case .settings(.settings(let settings)):
                out.yield(.settings(maxStreams: settings.first { $0.parameter == .maxConcurrentStreams }?.value))
            case .headers(let content):
                out.yield(.answer(stream: stream, status: content.headers.first(name: ":status") ?? ""))
            case .rstStream(let code): out.yield(.reset(stream: stream, code: code))
            case .goAway(let last, _, _): out.yield(.goAway(last: Int(last)))
            default: break
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            out.yield(.closed)
            out.finish()
            context.fireChannelInactive()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if !(error is NIOHTTP2Errors.StreamError) { context.close(promise: nil) }
        }
    }

    /// - Parameter first: sent before the server's settings can have come.
    init(port: Int, certificates: SimulatedCertificates, first: [TestPush] = []) async throws {
        let firstFrames = Self.frames(first, firstStream: 1)
        var tls = try certificates.clientTLSConfiguration()
        tls.applicationProtocols = ["h2"]
        let context = try NIOSSLContext(configuration: tls)
        let (frames, out) = AsyncStream.makeStream(of: Seen.self, bufferingPolicy: .bufferingOldest(10_000))
        self.frames = frames
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                    try pipeline.addHandler(NIOHTTP2Handler(mode: .client))
                    try pipeline.addHandler(Collector(out, first: firstFrames))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }

    /// Opens streams 1, 3, 5, … one request each, in one flush.
    func send(_ pushes: [TestPush], firstStream: Int = 1) async throws {
        for frame in Self.frames(pushes, firstStream: firstStream) { channel.write(frame, promise: nil) }
        channel.flush()
    }

    private static func frames(_ pushes: [TestPush], firstStream: Int) -> [HTTP2Frame] {
        var frames: [HTTP2Frame] = []
        for (index, push) in pushes.enumerated() {
            let stream = HTTP2StreamID(firstStream + 2 * index)
            var headers = HPACKHeaders()
            headers.add(name: ":method", value: push.method)
            headers.add(name: ":scheme", value: "https")
            headers.add(name: ":authority", value: "localhost")
            headers.add(name: ":path", value: push.path)
            for (name, value) in push.headers { headers.add(name: name, value: value) }
            frames.append(HTTP2Frame(streamID: stream, payload: .headers(.init(headers: headers, endStream: false))))
            frames.append(
                HTTP2Frame(
                    streamID: stream,
                    payload: .data(.init(data: .byteBuffer(ByteBuffer(bytes: push.body)), endStream: true))))
        }
        return frames
    }

    func close() async { try? await channel.close() }
}

/// The next frame that `fits`, and what came before it.
func next(
    _ iterator: inout AsyncStream<Seen>.Iterator, _ fits: (Seen) -> Bool
) async -> (hit: Seen?, before: [Seen]) {
    var before: [Seen] = []
    while let seen = await iterator.next(isolation: nil) {
        if fits(seen) { return (seen, before) }
        before.append(seen)
    }
    return (nil, before)
}
