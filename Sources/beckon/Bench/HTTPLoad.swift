import NIOCore
import NIOPosix

/// What one connection sends: a request at a time, each after the reply to the one before.
protocol LoadScript: Sendable {
    mutating func next() throws -> LoadRequest
    /// The reply to the last request, with the status it asked for.
    mutating func took(_ reply: LoadReply)
}

struct LoadRequest: Sendable {
    /// What its latencies are counted under.
    var kind: String
    /// Head and body.
    var bytes: ByteBuffer
    /// The status that counts as success.
    var expecting: Int
}

struct LoadReply: Sendable {
    var kind: String
    var body: [UInt8]
}

/// Whole requests made before, in turn.
struct FixedScript: LoadScript {
    let kind: String
    let requests: [ByteBuffer]
    let expecting: Int
    private var sent = 0

    init(kind: String, requests: [ByteBuffer], expecting: Int) {
        self.kind = kind
        self.requests = requests
        self.expecting = expecting
    }

    mutating func next() -> LoadRequest {
        defer { sent += 1 }
        return LoadRequest(kind: kind, bytes: requests[sent % requests.count], expecting: expecting)
    }

    mutating func took(_ reply: LoadReply) {}
}

/// Drives an HTTP/1.1 server over a few kept-alive connections with as little work of its own as it can. Latencies
/// count from when a request was due, so that a server that stands still is not hidden by a client that waits.
struct HTTPLoad: Sendable {
    /// Of the servers, which get the connections in turn.
    var ports: [Int]
    /// Requests per second over all connections; nil: as fast as replies come.
    var rate: Double?
    var seconds: Double
    /// One per connection.
    var scripts: [any LoadScript]

    struct Report: Sendable {
        /// Nanoseconds by kind, ascending.
        var latencies: [String: [Int64]] = [:]
        var errors = 0
        /// The first reply that was not as expected.
        var firstError: String?
        var seconds = 0.0

        var count: Int { latencies.values.reduce(0) { $0 + $1.count } }

        func milliseconds(_ share: Double, kind: String) -> Double {
            guard let sorted = latencies[kind], !sorted.isEmpty else { return 0 }
            return Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1e6
        }
    }

    func run() async throws -> Report {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let start = NIODeadline.now() + .milliseconds(50)
        let end = start + .nanoseconds(Int64(seconds * 1e9))
        let interval = rate.map { Int64(1e9 * Double(scripts.count) / $0) }
        var report = try await withThrowingTaskGroup(of: Report.self) { [self] tasks in
            for (index, script) in scripts.enumerated() {
                let first = start + .nanoseconds((interval ?? 0) * Int64(index) / Int64(scripts.count))
                let client = LoadConnection(script: script, first: first, end: end, intervalNs: interval)
                let port = ports[index % ports.count]
                tasks.addTask {
                    let channel = try await ClientBootstrap(group: group)
                        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                        .channelInitializer { channel in
                            channel.eventLoop.makeCompletedFuture {
                                try channel.pipeline.syncOperations.addHandler(client)
                            }
                        }
                        .connect(host: "127.0.0.1", port: port).get()
                    try await channel.closeFuture.get()
                    return client.report
                }
            }
            return try await tasks.reduce(into: Report()) { all, one in
                all.latencies.merge(one.latencies) { $0 + $1 }
                all.errors += one.errors
                all.firstError = all.firstError ?? one.firstError
            }
        }
        report.seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        report.latencies = report.latencies.mapValues { $0.sorted() }
        try await group.shutdownGracefully()
        return report
    }
}

/// One connection: one request at a time.
private final class LoadConnection: ChannelInboundHandler, @unchecked Sendable {
    // Guarantee: touched on its channel's event loop only, but for `report`, which is read after the channel has
    // closed.
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var script: any LoadScript
    private let end: NIODeadline
    private let intervalNs: Int64?
    private var due: NIODeadline
    private var outstanding: LoadRequest?
    private var received = ByteBuffer()
    private(set) var report = HTTPLoad.Report()

    init(script: any LoadScript, first: NIODeadline, end: NIODeadline, intervalNs: Int64?) {
        self.script = script
        self.end = end
        self.intervalNs = intervalNs
        due = first
    }

    func channelActive(context: ChannelHandlerContext) { schedule(context) }

    func channelInactive(context: ChannelHandlerContext) {
        if let outstanding { failed(outstanding.kind + ": the connection was closed") }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func failed(_ reason: String) {
        report.errors += 1
        if report.firstError == nil { report.firstError = reason }
    }

    private func schedule(_ context: ChannelHandlerContext) {
        if due >= end { return context.close(promise: nil) }
        if NIODeadline.now() >= due { return send(context) }
        let channel = context.channel
        context.eventLoop.scheduleTask(deadline: due) { [self] in
            if let context = try? channel.pipeline.syncOperations.context(handler: self) { send(context) }
        }
    }

    private func send(_ context: ChannelHandlerContext) {
        do {
            let request = try script.next()
            if intervalNs == nil { due = .now() }
            outstanding = request
            context.writeAndFlush(wrapOutboundOut(request.bytes), promise: nil)
        } catch {
            failed("\(error)")
            context.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        guard let (status, body) = takeReply(), let request = outstanding else { return }
        outstanding = nil
        if status == request.expecting {
            report.latencies[request.kind, default: []].append((NIODeadline.now() - due).nanoseconds)
            script.took(LoadReply(kind: request.kind, body: body))
        } else {
            failed("\(request.kind): \(status) \(String(decoding: body.prefix(300), as: UTF8.self))")
        }
        if let intervalNs { due = due + .nanoseconds(intervalNs) } else { due = .now() }
        schedule(context)
    }

    private static let headEnd = Array("\r\n\r\n".utf8)
    private static let lengthName = Array("\r\ncontent-length: ".utf8)

    /// Status and body of a reply that is there as a whole; its length has to be said.
    private func takeReply() -> (Int, [UInt8])? {
        let taken: (status: Int, head: Int, length: Int)? = received.withUnsafeReadableBytes { bytes in
            guard let head = Self.find(Self.headEnd, in: bytes, upTo: bytes.count) else { return nil }
            var length = 0
            if let name = Self.find(Self.lengthName, in: bytes, upTo: head + 2) {
                var index = name + Self.lengthName.count
                while bytes[index] >= UInt8(ascii: "0"), bytes[index] <= UInt8(ascii: "9") {
                    length = length * 10 + Int(bytes[index] - UInt8(ascii: "0"))
                    index += 1
                }
            }
            guard bytes.count >= head + 4 + length, head > 12 else { return nil }
            let status = bytes[9..<12].reduce(0) { $0 * 10 + Int($1) - Int(UInt8(ascii: "0")) }
            return (status, head + 4, length)
        }
        guard let taken else { return nil }
        received.moveReaderIndex(forwardBy: taken.head)
        let body = received.readBytes(length: taken.length) ?? []
        received.discardReadBytes()
        return (taken.status, body)
    }

    /// Letters in either case: a header's name is written as the server likes.
    private static func find(_ pattern: [UInt8], in bytes: UnsafeRawBufferPointer, upTo end: Int) -> Int? {
        guard end >= pattern.count else { return nil }
        for start in 0...(end - pattern.count) where bytes[start] == UInt8(ascii: "\r") {
            var index = 0
            while index < pattern.count {
                let byte = bytes[start + index]
                let isLetter = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
                guard (isLetter ? byte | 0x20 : byte) == pattern[index] else { break }
                index += 1
            }
            if index == pattern.count { return start }
        }
        return nil
    }
}
