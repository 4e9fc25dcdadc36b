import Foundation
import NIOCore
import NIOPosix

/// Drives an HTTP/1.1 server over a few kept-alive connections with as little work of its own as it can: requests are bytes
/// made before, of a reply only its status and its length are read. Latencies count from when a request was due, so that a
/// server that stands still is not hidden by a client that waits.
struct HTTPLoad: Sendable {
    var host: String
    var port: Int
    var connections: Int
    /// Requests per second over all connections; nil: as fast as replies come.
    var rate: Double?
    var seconds: Double
    /// Whole requests, taken in turn.
    var requests: [[UInt8]]
    /// The status that counts as success.
    var expecting: Int

    struct Report: Sendable {
        var good = 0
        var errors = 0
        var seconds = 0.0
        var perSecond = 0.0
        var p50Ms = 0.0
        var p99Ms = 0.0
    }

    func run() async throws -> Report {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let start = NIODeadline.now() + .milliseconds(50)
        let end = start + .nanoseconds(Int64(seconds * 1e9))
        let interval = rate.map { Int64(1e9 * Double(connections) / $0) }
        let results = try await withThrowingTaskGroup(of: ([Int64], Int).self) { [self] tasks in
            for index in 0..<connections {
                let first = start + .nanoseconds((interval ?? 0) * Int64(index) / Int64(connections))
                let mine = requests.indices.filter { $0 % connections == index }.map { requests[$0] }
                let client = LoadConnection(
                    requests: (mine.isEmpty ? requests : mine).map { ByteBuffer(bytes: $0) }, first: first, end: end,
                    intervalNs: interval, expecting: expecting)
                tasks.addTask {
                    let channel = try await ClientBootstrap(group: group)
                        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                        .channelInitializer { channel in
                            channel.eventLoop.makeCompletedFuture {
                                try channel.pipeline.syncOperations.addHandler(client)
                            }
                        }
                        .connect(host: host, port: port).get()
                    try await channel.closeFuture.get()
                    return client.results
                }
            }
            var all: ([Int64], Int) = ([], 0)
            for try await (latencies, errors) in tasks {
                all.0 += latencies
                all.1 += errors
            }
            return all
        }
        let elapsed = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        try await group.shutdownGracefully()
        let (latencies, errors) = (results.0.sorted(), results.1)
        func quantile(_ share: Double) -> Double {
            guard !latencies.isEmpty else { return 0 }
            return Double(latencies[min(latencies.count - 1, Int(Double(latencies.count) * share))]) / 1e6
        }
        return Report(
            good: latencies.count, errors: errors, seconds: elapsed, perSecond: Double(latencies.count) / elapsed,
            p50Ms: quantile(0.5), p99Ms: quantile(0.99))
    }
}

/// One connection: one request at a time.
private final class LoadConnection: ChannelInboundHandler, @unchecked Sendable {
    // Guarantee: touched on its channel's event loop only, but for `results`, which is read after the channel has closed.
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let requests: [ByteBuffer]
    private let end: NIODeadline
    private let intervalNs: Int64?
    private let expecting: Int
    private var due: NIODeadline
    private var sent = 0
    private var isOutstanding = false
    private var received = ByteBuffer()
    private var latencies: [Int64] = []
    private var errors = 0

    init(requests: [ByteBuffer], first: NIODeadline, end: NIODeadline, intervalNs: Int64?, expecting: Int) {
        self.requests = requests
        self.end = end
        self.intervalNs = intervalNs
        self.expecting = expecting
        due = first
    }

    var results: ([Int64], Int) { (latencies, errors) }

    func channelActive(context: ChannelHandlerContext) { schedule(context) }

    func channelInactive(context: ChannelHandlerContext) {
        if isOutstanding { errors += 1 }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func schedule(_ context: ChannelHandlerContext) {
        if due >= end { return context.close(promise: nil) }
        if NIODeadline.now() >= due { return send(context) }
        let channel = context.channel
        context.eventLoop.scheduleTask(deadline: due) { [self] in
            if let context = try? channel.pipeline.syncOperations.context(handler: self) { send(context) }
        }
    }

    private func send(_ context: ChannelHandlerContext) {
        if intervalNs == nil { due = .now() }
        isOutstanding = true
        context.writeAndFlush(wrapOutboundOut(requests[sent % requests.count]), promise: nil)
        sent += 1
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        guard let status = takeReply() else { return }
        isOutstanding = false
        if status == expecting { latencies.append((NIODeadline.now() - due).nanoseconds) } else { errors += 1 }
        if let intervalNs { due = due + .nanoseconds(intervalNs) } else { due = .now() }
        schedule(context)
    }

    /// The status of a reply that is there as a whole; only replies with a length are known.
    private func takeReply() -> Int? {
        let view = received.readableBytesView
        guard let head = view.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        let text = String(decoding: view[..<head.lowerBound], as: UTF8.self).lowercased()
        let length =
            text.range(of: "content-length:").flatMap { range in
                Int(
                    text[range.upperBound...].prefix { $0 != "\r\n" && $0 != "\r" && $0 != "\n" }.trimmingCharacters(
                        in: .whitespaces))
            } ?? 0
        guard view.endIndex - head.upperBound >= length else { return nil }
        received.moveReaderIndex(to: head.upperBound + length)
        received.discardReadBytes()
        return Int(text.dropFirst(9).prefix(3))
    }
}
