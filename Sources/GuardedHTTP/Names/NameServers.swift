import Foundation
public import NIOCore
import NIOPosix

/// Asks name servers for the addresses of a name, over UDP, and over TCP when an answer is cut. No thread is blocked,
/// so that a zone whose servers hang costs a timer and nobody else's look-up.
public struct NameServers: Sendable {
    public let servers: [SocketAddress]

    public init(servers: [SocketAddress]) {
        self.servers = servers
    }

    /// The servers of `/etc/resolv.conf`; without one, the machine itself, as the resolver of the C library does it.
    public init(file: String = "/etc/resolv.conf") {
        let text = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
        let found = text.split(separator: "\n").compactMap { line -> SocketAddress? in
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count >= 2, words[0] == "nameserver", let address = IPAddress(words[1]) else { return nil }
            return try? address.socketAddress(port: 53)
        }
        servers = found.isEmpty ? [try? IPAddress([127, 0, 0, 1]).socketAddress(port: 53)].compactMap { $0 } : found
    }

    /// Reads `10.0.0.2,fd00::53`. Nil: an entry is no IP address, or there is none.
    public init?(parsing text: String) {
        var servers: [SocketAddress] = []
        for entry in text.split(separator: ",") {
            guard let address = IPAddress(entry.filter { !$0.isWhitespace }),
                let server = try? address.socketAddress(port: 53)
            else { return nil }
            servers.append(server)
        }
        guard !servers.isEmpty else { return nil }
        self.servers = servers
    }

    /// One server gets so long before the next is asked.
    private static let patience = TimeAmount.milliseconds(1500)

    /// - Parameter deadline: for all attempts together.
    /// - Throws: ``GuardedHTTPError/nameServerSilent`` when nobody has answered in time.
    func ask(
        _ name: String, _ type: DNSMessage.RecordType, deadline: NIODeadline, on loop: any EventLoop
    ) async throws -> DNSMessage.Answer {
        var attempt = 0
        while NIODeadline.now() < deadline, attempt < max(2, servers.count * 2), !servers.isEmpty, !Task.isCancelled {
            let server = servers[attempt % servers.count]
            attempt += 1
            let until = min(deadline, .now() + Self.patience)
            guard let answer = try? await exchange(name, type, server, isTCP: false, until, loop) else { continue }
            let whole = answer.isTruncated ? try? await exchange(name, type, server, isTCP: true, until, loop) : answer
            // No error and no such name are answers; a server that fails or refuses leaves it to the next one.
            guard let whole, whole.code == 0 || whole.code == 3 else { continue }
            return whole
        }
        throw GuardedHTTPError.nameServerSilent
    }

    private func exchange(
        _ name: String, _ type: DNSMessage.RecordType, _ server: SocketAddress, isTCP: Bool, _ deadline: NIODeadline,
        _ loop: any EventLoop
    ) async throws -> DNSMessage.Answer {
        let id = UInt16.random(in: 0...UInt16.max)
        let question = DNSMessage.question(id: id, name: name, type: type)
        let promise = loop.makePromise(of: DNSMessage.Answer.self)
        let timer = loop.scheduleTask(deadline: deadline) { promise.fail(GuardedHTTPError.nameServerSilent) }
        defer { timer.cancel() }
        let read: @Sendable ([UInt8]) -> DNSMessage.Answer? = {
            DNSMessage.answer($0, id: id, name: name, type: type)
        }
        let channel: any Channel
        do {
            channel = try await connect(to: server, isTCP: isTCP, deadline, loop) {
                AnswerHandler(isTCP: isTCP, promise: promise, read: read)
            }
        } catch {
            promise.fail(error)
            throw error
        }
        let length = isTCP ? [UInt8(question.count >> 8), UInt8(question.count & 255)] : []
        channel.writeAndFlush(ByteBuffer(bytes: length + question), promise: nil)
        do {
            let answer = try await withTaskCancellationHandler {
                try await promise.futureResult.get()
            } onCancel: {
                promise.fail(GuardedHTTPError.nameServerSilent)
            }
            channel.close(promise: nil)
            return answer
        } catch {
            channel.close(promise: nil)
            throw error
        }
    }

    private func connect(
        to server: SocketAddress, isTCP: Bool, _ deadline: NIODeadline, _ loop: any EventLoop,
        _ handler: @escaping @Sendable () -> AnswerHandler
    ) async throws -> any Channel {
        if isTCP {
            return try await ClientBootstrap(group: loop).connectTimeout(deadline - .now())
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler()) }
                }
                .connect(to: server).get()
        }
        // A socket of its own for each question: a port that nobody can guess, and datagrams of this server alone.
        return try await DatagramBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(DatagramBytes(server: server), handler())
                }
            }
            .connect(to: server).get()
    }
}

/// Datagrams of one server as bytes.
private final class DatagramBytes: ChannelDuplexHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let server: SocketAddress

    init(server: SocketAddress) {
        self.server = server
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard envelope.remoteAddress == server else { return }
        context.fireChannelRead(wrapInboundOut(envelope.data))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let envelope = AddressedEnvelope(remoteAddress: server, data: unwrapOutboundIn(data))
        context.write(wrapOutboundOut(envelope), promise: promise)
    }
}

/// Takes the first answer that fits the question. What does not fit is passed over: it may be somebody's guess.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let isTCP: Bool
    private let promise: EventLoopPromise<DNSMessage.Answer>
    private let read: ([UInt8]) -> DNSMessage.Answer?
    private var collected: [UInt8] = []

    init(
        isTCP: Bool, promise: EventLoopPromise<DNSMessage.Answer>, read: @escaping ([UInt8]) -> DNSMessage.Answer?
    ) {
        self.isTCP = isTCP
        self.promise = promise
        self.read = read
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard isTCP else {
            if let answer = read(bytes) { promise.succeed(answer) }
            return
        }
        collected += bytes
        guard collected.count >= 2 else { return }
        let length = Int(collected[0]) << 8 | Int(collected[1])
        guard collected.count >= length + 2 else { return }
        if let answer = read(Array(collected[2..<(length + 2)])) {
            promise.succeed(answer)
        } else {
            promise.fail(GuardedHTTPError.nameServerSilent)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { promise.fail(error) }

    func channelInactive(context: ChannelHandlerContext) { promise.fail(GuardedHTTPError.nameServerSilent) }
}
