import Foundation
public import NIOCore
import NIOPosix
import Synchronization

/// A name server over UDP and TCP on loopback that answers what a test says.
public final class SimulatedNameServer: Sendable {
    public enum Reply: Sendable {
        case addresses([String])
        case noSuchName
        case fails
        case silent
        /// A cut answer over UDP; these over TCP.
        case onlyOverTCP([String])
        /// An alias in front of the addresses.
        case alias([String])
    }

    public let address: SocketAddress
    private let channels: [any Channel]
    private let group: MultiThreadedEventLoopGroup

    /// - Parameter reply: gets the name, whether IPv6 addresses are asked for, and how many questions came before.
    public init(
        timeToLive: UInt32 = 0, reply: @escaping @Sendable (String, _ isIPv6: Bool, Int) -> Reply
    ) async throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let count = Atomic(0)
        let answer: @Sendable ([UInt8], _ isTCP: Bool) -> [UInt8]? = { question, isTCP in
            Self.answer(question, isTCP: isTCP, timeToLive: timeToLive) {
                reply($0, $1, count.add(1, ordering: .relaxed).oldValue)
            }
        }
        // TCP first: its port is free for UDP as well, nearly always.
        let tcp = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StreamHandler(answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let bound = tcp.localAddress else { throw ChannelError.unknownLocalAddress }
        let udp = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramHandler(answer: answer))
                }
            }
            .bind(to: bound).get()
        address = bound
        channels = [tcp, udp]
    }

    public func stop() async {
        for channel in channels { try? await channel.close().get() }
        try? await group.shutdownGracefully()
    }

    private static func answer(
        _ question: [UInt8], isTCP: Bool, timeToLive: UInt32, reply: (String, Bool) -> Reply
    ) -> [UInt8]? {
        var labels: [String] = []
        var position = 12
        while position < question.count, question[position] != 0 {
            let end = position + 1 + Int(question[position])
            labels.append(String(decoding: question[(position + 1)..<end], as: UTF8.self))
            position = end
        }
        let end = position + 5
        let isIPv6 = question[position + 2] == 28
        var texts: [String] = []
        var (code, cut, alias): (UInt8, UInt8, Bool) = (0, 0, false)
        switch reply(labels.joined(separator: "."), isIPv6) {
        case .silent: return nil
        case .noSuchName: code = 3
        case .fails: code = 2
        case .addresses(let some): texts = some
        case .alias(let some): (texts, alias) = (some, true)
        case .onlyOverTCP(let some): if isTCP { texts = some } else { cut = 2 }
        }
        let addresses = texts.compactMap(bytes(of:)).filter { $0.count == (isIPv6 ? 16 : 4) }
        let count = addresses.count + (alias ? 1 : 0)
        var bytes = Array(question[..<2]) + [0x81 | cut, 0x80 | code, 0, 1, 0, UInt8(count), 0, 0, 0, 0]
        bytes += question[12..<end]
        let life = withUnsafeBytes(of: timeToLive.bigEndian) { Array($0) }
        if alias { bytes += [0xC0, 12, 0, 5, 0, 1] + life + [0, 4, 1, UInt8(ascii: "x"), 0xC0, 12] }
        for address in addresses {
            bytes += [0xC0, 12, 0, isIPv6 ? 28 : 1, 0, 1] + life + [0, UInt8(address.count)] + address
        }
        return bytes
    }

    private static func bytes(of text: String) -> [UInt8]? {
        let isIPv6 = text.contains(":")
        var bytes = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
        return inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &bytes) == 1 ? bytes : nil
    }
}

private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>
    private let answer: @Sendable ([UInt8], Bool) -> [UInt8]?

    init(answer: @escaping @Sendable ([UInt8], Bool) -> [UInt8]?) {
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard let bytes = answer(Array(envelope.data.readableBytesView), false) else { return }
        context.writeAndFlush(
            wrapOutboundOut(AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: bytes))),
            promise: nil)
    }
}

private final class StreamHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let answer: @Sendable ([UInt8], Bool) -> [UInt8]?

    init(answer: @escaping @Sendable ([UInt8], Bool) -> [UInt8]?) {
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard bytes.count > 14, let reply = answer(Array(bytes[2...]), true) else { return }
        let length = [UInt8(reply.count >> 8), UInt8(reply.count & 255)]
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: length + reply)), promise: nil)
    }
}
