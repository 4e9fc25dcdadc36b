import Foundation
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL
import Synchronization

/// A real TLS HTTP/2 peer that does what a test says, frame by frame, and counts what reaches it.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        var headers: HPACKHeaders
        var body: [UInt8] = []
        /// From 0, in the order of accepting.
        var connection: Int
        /// From 1 on its connection.
        var number: Int

        var id: String { headers.first(name: "apns-id") ?? "" }
        var path: String { headers.first(name: ":path") ?? "" }
        var authorization: String { headers.first(name: "authorization") ?? "" }
    }

    enum Reaction: Sendable {
        case answer(status: Int, headers: [String: String] = [:], body: String = "", afterMs: Int64 = 0)
        /// Headers as they are, one block after the other, then a body, then trailers.
        case blocks([HPACKHeaders], body: String = "", trailers: HPACKHeaders)
        case reset(HTTP2ErrorCode)
        case stall
        /// TCP ends without a word.
        case cut
        /// From now on this connection reads nothing and says nothing, not even to PING.
        case mute
        case goaway(HTTP2ErrorCode)

        static let accept = answer(status: 200)
    }

    struct Script: Sendable {
        var maxConcurrentStreams: Int? = 1000
        var initialWindow = 65_535
        /// Bytes of window granted at a time when a stream's is used up, after a moment; nil: never.
        var windowStep: Int?
        /// The connection's window is widened only so long after its bytes were read; 0: at once.
        var connectionWindowAfterMs: Int64 = 0
        /// After this many streams of a connection: GOAWAY with that stream's id; streams above it are not processed.
        var goawayEvery: Int?
        /// Say GOAWAY with the highest id first, as a graceful shutdown does.
        var warnsBeforeGoaway = false
        var protocols = ["h2"]
        /// Only a client with the tests' own certificate gets through the handshake.
        var asksForClient = false
        /// Nil: the tests' own.
        var certificate: TestCertificate?
        /// Called when the headers have come; nil: wait for the body.
        var early: @Sendable (Request) -> Reaction? = { _ in nil }
        /// Called when the whole request has come.
        var react: @Sendable (Request) -> Reaction = { _ in .accept }
    }

    struct Seen: Sendable {
        /// Whole requests that were processed, in order.
        var requests: [Request] = []
        /// Processed, by `apns-id`: headers came, and no GOAWAY or REFUSED_STREAM denied it.
        var processed: [String: Int] = [:]
        var connections = 0
        var openConnections = 0
        /// Most streams open at a time on one connection.
        var mostStreams = 0
        /// Answers handed to the socket.
        var answers = 0
        var resetsFromClient = 0
        var pings = 0
        var duplicates: [String] { processed.filter { $0.value > 1 }.map(\.key) }
    }

    let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup

    private init(channel: any Channel, group: MultiThreadedEventLoopGroup, state: Box) {
        self.channel = channel
        self.group = group
        self.box = state
        port = channel.localAddress?.port ?? 0
    }
    private let box: Box

    /// Counters, and the script, which may change while connections live.
    final class Box: Sendable {
        let seen = Mutex(Seen())
        let script: Mutex<Script>
        let channels = Mutex<[ObjectIdentifier: any Channel]>([:])
        init(_ script: Script) { self.script = Mutex(script) }
    }

    var seen: Seen { box.seen.withLock { $0 } }
    var url: String { "https://localhost:\(port)" }
    func change(_ body: @Sendable (inout Script) -> Void) { box.script.withLock { body(&$0) } }

    /// From now on the connections that are open read nothing and say nothing.
    func mute() async throws {
        for channel in box.channels.withLock({ Array($0.values) }) {
            try await channel.eventLoop.submit {
                try channel.pipeline.syncOperations.handler(type: WireHandler.self).isMute = true
            }.get()
        }
    }

    static func run<T>(
        _ script: Script = Script(), host: String = "127.0.0.1", port: Int = 0,
        _ body: (ScriptedServer) async throws -> T
    ) async throws -> T {
        let server = try await start(script, host: host, port: port)
        do {
            let value = try await body(server)
            try await server.stop()
            return value
        } catch {
            try await server.stop()
            throw error
        }
    }

    static func start(_ script: Script, host: String = "127.0.0.1", port: Int = 0) async throws -> ScriptedServer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let box = Box(script)
        let tls = try (script.certificate ?? TestCertificate.shared.get()).serverContext(
            protocols: script.protocols, asksForClient: script.asksForClient)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let script = box.script.withLock { $0 }
                    var settings: HTTP2Settings = [
                        HTTP2Setting(parameter: .initialWindowSize, value: script.initialWindow)
                    ]
                    if let most = script.maxConcurrentStreams {
                        settings.append(HTTP2Setting(parameter: .maxConcurrentStreams, value: most))
                    }
                    let wire = WireHandler()
                    var connection = NIOHTTP2Handler.ConnectionConfiguration()
                    connection.initialSettings = settings
                    // Streams that are reset at their deadline are what is tested here, not an attack.
                    connection.maximumConnectionGlitches = .max
                    connection.maximumRecentlyResetStreams = 4096
                    var stream = NIOHTTP2Handler.StreamConfiguration()
                    stream.streamResetFrameRateLimit.maximumCount = 100_000
                    stream.streamErrorRateLimit.maximumCount = 100_000
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLServerHandler(context: tls), wire,
                        NIOHTTP2Handler(
                            mode: .server, connectionConfiguration: connection, streamConfiguration: stream),
                        FrameHandler(box: box, wire: wire))
                }
            }
            .bind(host: host, port: port).get()
        return ScriptedServer(channel: channel, group: group, state: box)
    }

    func stop() async throws {
        try await channel.close()
        for child in box.channels.withLock({ Array($0.values) }) { child.close(promise: nil) }
        try await group.shutdownGracefully()
    }
}

/// Between TLS and `NIOHTTP2Handler`: swallows everything once told to, and writes GOAWAY past that handler.
///
/// NIOHTTP2 (1.46) takes the DATA of a stream above its own GOAWAY, which a peer cannot help sending, for a connection
/// error, and then parses one frame per read: DATA of streams below it, and PING, wait behind that until the peer gives
/// the connection up.
private final class WireHandler: ChannelDuplexHandler, @unchecked Sendable {
    // Guarantee: touched on its channel's event loop only.
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    var isMute = false
    private var context: ChannelHandlerContext?

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if !isMute { context.fireChannelRead(data) }
    }
    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isMute { promise?.succeed() } else { context.write(data, promise: promise) }
    }

    func goAway(_ lastStream: HTTP2StreamID, _ code: HTTP2ErrorCode) {
        guard let context, !isMute else { return }
        // Length 8, type 7, no flags, stream 0; last stream, code (RFC 9113, 6.8).
        var frame = ByteBuffer(bytes: [0, 0, 8, 7, 0, 0, 0, 0, 0])
        frame.writeInteger(UInt32(Int(lastStream)))
        frame.writeInteger(UInt32(http2ErrorCode: code))
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }
}

private final class FrameHandler: ChannelInboundHandler, @unchecked Sendable {
    // Guarantee: touched on its channel's event loop only.
    typealias InboundIn = HTTP2Frame
    typealias OutboundOut = HTTP2Frame

    private let box: ScriptedServer.Box
    private let wire: WireHandler
    private var open: [HTTP2StreamID: ScriptedServer.Request] = [:]
    private var replied: Set<HTTP2StreamID> = []
    private var number = 0
    private var connection = 0
    private var lastProcessed: HTTP2StreamID?
    /// Read, and not given back to the connection's window yet.
    private var lateBytes = 0

    init(box: ScriptedServer.Box, wire: WireHandler) {
        self.box = box
        self.wire = wire
    }

    func channelActive(context: ChannelHandlerContext) {
        box.channels.withLock { $0[ObjectIdentifier(context.channel)] = context.channel }
        connection = box.seen.withLock { seen in
            seen.connections += 1
            seen.openConnections += 1
            return seen.connections - 1
        }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        _ = box.channels.withLock { $0.removeValue(forKey: ObjectIdentifier(context.channel)) }
        box.seen.withLock { $0.openConnections -= 1 }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is NIOHTTP2Errors.StreamClosed { return }
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.payload {
        case .headers(let headers): received(headers, frame.streamID, context)
        case .data(let data):
            if case .byteBuffer(let buffer) = data.data {
                open[frame.streamID]?.body.append(contentsOf: buffer.readableBytesView)
                widen(frame.streamID, buffer.readableBytes, data.endStream, context)
            }
            if data.endStream { complete(frame.streamID, context) }
        case .rstStream:
            box.seen.withLock { $0.resetsFromClient += 1 }
            open.removeValue(forKey: frame.streamID)
        case .ping(_, let ack):
            if !ack { box.seen.withLock { $0.pings += 1 } }
        default: break
        }
    }

    private func received(
        _ headers: HTTP2Frame.FramePayload.Headers, _ id: HTTP2StreamID, _ context: ChannelHandlerContext
    ) {
        if let lastProcessed, id > lastProcessed { return }
        number += 1
        let request = ScriptedServer.Request(headers: headers.headers, connection: connection, number: number)
        open[id] = request
        let streams = open.count
        let script = box.script.withLock { $0 }
        box.seen.withLock { seen in
            seen.processed[request.id, default: 0] += 1
            seen.mostStreams = max(seen.mostStreams, streams)
        }
        if let every = script.goawayEvery, number == every {
            if script.warnsBeforeGoaway {
                wire.goAway(.maxID, .noError)
            }
            lastProcessed = id
            wire.goAway(id, .noError)
        }
        if let reaction = script.early(request) { perform(reaction, id, context) }
        if headers.endStream { complete(id, context) }
    }

    private func widen(_ id: HTTP2StreamID, _ bytes: Int, _ isEnd: Bool, _ context: ChannelHandlerContext) {
        let (step, lateMs) = box.script.withLock { ($0.windowStep, $0.connectionWindowAfterMs) }
        guard bytes > 0 else { return }
        if lateMs == 0 {
            write(.rootStream, .windowUpdate(windowSizeIncrement: bytes), context)
        } else {
            if lateBytes == 0 {
                let loopContext = NIOLoopBound(context, eventLoop: context.eventLoop)
                context.eventLoop.scheduleTask(in: .milliseconds(lateMs)) { [self] in
                    write(.rootStream, .windowUpdate(windowSizeIncrement: lateBytes), loopContext.value)
                    lateBytes = 0
                    loopContext.value.flush()
                }
            }
            lateBytes += bytes
        }
        if let step, !isEnd {
            let loopContext = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: .milliseconds(2)) { [self] in
                guard open[id] != nil else { return }
                write(id, .windowUpdate(windowSizeIncrement: step), loopContext.value)
                loopContext.value.flush()
            }
        }
        context.flush()
    }

    private func complete(_ id: HTTP2StreamID, _ context: ChannelHandlerContext) {
        guard let request = open[id] else { return }
        box.seen.withLock { $0.requests.append(request) }
        if replied.contains(id) {
            open.removeValue(forKey: id)
            return
        }
        perform(box.script.withLock { $0.react }(request), id, context)
    }

    private func perform(_ reaction: ScriptedServer.Reaction, _ id: HTTP2StreamID, _ context: ChannelHandlerContext) {
        replied.insert(id)
        switch reaction {
        case .answer(let status, let headers, let body, let afterMs):
            if afterMs == 0 { return answer(status, headers, body, id, context) }
            let loopContext = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: .milliseconds(afterMs)) { [self] in
                answer(status, headers, body, id, loopContext.value)
            }
        case .blocks(let blocks, let body, let trailers):
            guard open.removeValue(forKey: id) != nil else { return }
            for block in blocks { write(id, .headers(.init(headers: block)), context) }
            if !body.isEmpty { write(id, .data(.init(data: .byteBuffer(ByteBuffer(string: body)))), context) }
            write(id, .headers(.init(headers: trailers, endStream: true)), context)
            context.flush()
        case .reset(let code):
            if code == .refusedStream, let request = open[id] {
                box.seen.withLock { $0.processed[request.id, default: 1] -= 1 }
            }
            open.removeValue(forKey: id)
            write(id, .rstStream(code), context)
            context.flush()
        case .stall: break
        case .cut: context.close(promise: nil)
        case .mute: wire.isMute = true
        case .goaway(let code):
            lastProcessed = id
            wire.goAway(id, code)
        }
    }

    private func answer(
        _ status: Int, _ extra: [String: String], _ body: String, _ id: HTTP2StreamID, _ context: ChannelHandlerContext
    ) {
        guard let request = open.removeValue(forKey: id) else { return }
        var headers: HPACKHeaders = [":status": "\(status)", "apns-id": request.id]
        for (name, value) in extra { headers.add(name: name, value: value) }
        write(id, .headers(.init(headers: headers, endStream: body.isEmpty)), context)
        if !body.isEmpty {
            write(id, .data(.init(data: .byteBuffer(ByteBuffer(string: body)), endStream: true)), context)
        }
        context.flush()
        box.seen.withLock { $0.answers += 1 }
    }

    private func write(_ id: HTTP2StreamID, _ payload: HTTP2Frame.FramePayload, _ context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(HTTP2Frame(streamID: id, payload: payload)), promise: nil)
    }
}
