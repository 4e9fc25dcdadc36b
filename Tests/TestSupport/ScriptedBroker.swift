import NIOCore
import NIOPosix
import Simulators
import Synchronization

/// A server that speaks as much of Kafka's protocol as a look needs, and answers what a test says: for what the
/// embedded broker cannot show (SASL, advertised addresses, settings of topics, rights, members of groups).
///
/// Message layouts: kafka.apache.org/protocol, in the versions that ``apis`` offers.
public final class ScriptedBroker: Sendable {
    public struct Topic: Sendable {
        public var name: String
        /// Kafka's number; 0: none.
        public var error: Int16
        public var partitions: Int
        public var replicas: Int
        public var settings: [String: String]

        public init(
            name: String, error: Int16 = 0, partitions: Int = 12, replicas: Int = 3, settings: [String: String] = [:]
        ) {
            self.name = name
            self.error = error
            self.partitions = partitions
            self.replicas = replicas
            self.settings = settings
        }
    }

    public struct Group: Sendable {
        public var id: String
        public var error: Int16
        public var state: String
        public var assignor: String
        /// `client.id` of each member.
        public var members: [String]

        public init(
            id: String, error: Int16 = 0, state: String = "Stable", assignor: String = "range", members: [String] = []
        ) {
            self.id = id
            self.error = error
            self.state = state
            self.assignor = assignor
            self.members = members
        }
    }

    public struct Script: Sendable {
        /// Where it sends its clients; nil: to itself.
        public var advertised: (host: String, port: Int)?
        public var topics: [Topic]
        public var groups: [Group]
        public var mechanisms: [String]
        /// What it says to a user and a password.
        public var refusal: String?

        public init(
            advertised: (host: String, port: Int)? = nil, topics: [Topic] = [], groups: [Group] = [],
            mechanisms: [String] = ["PLAIN"], refusal: String? = nil
        ) {
            self.advertised = advertised
            self.topics = topics
            self.groups = groups
            self.mechanisms = mechanisms
            self.refusal = refusal
        }
    }

    /// A request that a test looks at.
    public enum Request: Int16, Sendable {
        case joinGroup = 11
        case listGroups = 16
    }

    /// What all its connections share.
    private struct State {
        var script: Script
        /// The client ids of the requests, by their number.
        var clients: [Int16: [String]] = [:]
    }

    private final class Shared: Sendable {
        let state: Mutex<State>
        init(_ script: Script) { state = Mutex(State(script: script)) }
    }

    public let port: Int
    private let shared: Shared
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup

    public init(_ script: Script) async throws {
        let shared = Shared(script)
        self.shared = shared
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(shared))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
    }

    public var address: String { "127.0.0.1:\(port)" }

    /// Changes what it answers from now on.
    public func change(_ body: (inout Script) -> Void) { shared.state.withLock { body(&$0.script) } }

    /// The client id of each such request, in their order.
    public func clients(of request: Request) -> [String] {
        shared.state.withLock { $0.clients[request.rawValue] ?? [] }
    }

    public func stop() async {
        try? await channel.close().get()
        try? await group.shutdownGracefully()
    }

    /// The requests that it says it answers, by number: the lowest and the highest version. It answers no request of a
    /// member of a group (8, 9 and 11 to 14).
    private static let apis: [Int16: (Int16, Int16)] = [
        3: (1, 1), 8: (1, 2), 9: (1, 1), 10: (0, 0), 11: (0, 0), 12: (0, 0), 13: (0, 0), 14: (0, 0), 15: (0, 0),
        16: (0, 0), 17: (0, 1), 18: (0, 0), 32: (0, 0), 36: (0, 0),
    ]

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let shared: Shared
        private var script: Script
        private var buffer = ByteBuffer()

        init(_ shared: Shared) {
            self.shared = shared
            script = shared.state.withLock { $0.script }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            buffer.writeImmutableBuffer(unwrapInboundIn(data))
            while let length: Int32 = buffer.getInteger(at: buffer.readerIndex), buffer.readableBytes >= length + 4 {
                buffer.moveReaderIndex(forwardBy: 4)
                guard var request = buffer.readSlice(length: Int(length)) else { return }
                guard let reply = answer(&request, context) else { continue }
                var framed = context.channel.allocator.buffer(capacity: reply.readableBytes + 4)
                framed.writeInteger(Int32(reply.readableBytes))
                framed.writeImmutableBuffer(reply)
                context.writeAndFlush(wrapOutboundOut(framed), promise: nil)
            }
        }

        private func answer(_ request: inout ByteBuffer, _ context: ChannelHandlerContext) -> ByteBuffer? {
            guard let api: Int16 = request.readInteger(), let version: Int16 = request.readInteger(),
                let correlation: Int32 = request.readInteger()
            else { return nil }
            let client = request.readText() ?? ""
            script = shared.state.withLock { state in
                if Request(rawValue: api) != nil { state.clients[api, default: []].append(client) }
                return state.script
            }
            var reply = ByteBuffer()
            reply.writeInteger(correlation)
            switch api {
            case 18:
                // A later version than it knows gets version 0's answer, with UNSUPPORTED_VERSION.
                reply.writeInteger(Int16(version == 0 ? 0 : 35))
                reply.writeInteger(Int32(ScriptedBroker.apis.count))
                for (api, range) in ScriptedBroker.apis.sorted(by: { $0.key < $1.key }) {
                    reply.writeInteger(api)
                    reply.writeInteger(range.0)
                    reply.writeInteger(range.1)
                }
            case 17:
                let wanted = request.readText() ?? ""
                reply.writeInteger(Int16(script.mechanisms.contains(wanted) ? 0 : 33))
                reply.writeTexts(script.mechanisms)
            case 36:
                reply.writeInteger(Int16(script.refusal == nil ? 0 : 58))
                reply.writeText(script.refusal)
                reply.writeInteger(Int32(0))
            case 3: metadata(request.readTexts(), into: &reply, context)
            case 10:
                reply.writeInteger(Int16(0))
                broker(into: &reply, context)
            case 15: groups(request.readTexts(), into: &reply)
            case 16:
                // A broker lists only what its client may see.
                let seen = script.groups.filter { $0.error != 30 }
                reply.writeInteger(Int16(0))
                reply.writeInteger(Int32(seen.count))
                for group in seen { for text in [group.id, "consumer"] { reply.writeText(text) } }
            case 32: settings(&request, into: &reply)
            default: return nil
            }
            return reply
        }

        private func broker(into reply: inout ByteBuffer, _ context: ChannelHandlerContext) {
            reply.writeInteger(Int32(1))
            reply.writeText(script.advertised?.host ?? "127.0.0.1")
            reply.writeInteger(Int32(script.advertised?.port ?? context.channel.localAddress?.port ?? 0))
        }

        private func metadata(_ names: [String], into reply: inout ByteBuffer, _ context: ChannelHandlerContext) {
            reply.writeInteger(Int32(1))
            broker(into: &reply, context)
            reply.writeText(nil)
            reply.writeInteger(Int32(1))
            reply.writeInteger(Int32(names.count))
            for name in names {
                let topic = script.topics.first { $0.name == name } ?? Topic(name: name, error: 3)
                reply.writeInteger(topic.error)
                reply.writeText(name)
                reply.writeInteger(UInt8(0))
                let partitions = topic.error == 0 ? topic.partitions : 0
                reply.writeInteger(Int32(partitions))
                for partition in 0..<partitions {
                    reply.writeInteger(Int16(0))
                    reply.writeInteger(Int32(partition))
                    reply.writeInteger(Int32(1))
                    for _ in 0..<2 {
                        reply.writeInteger(Int32(topic.replicas))
                        for replica in 0..<topic.replicas { reply.writeInteger(Int32(replica + 1)) }
                    }
                }
            }
        }

        private func groups(_ ids: [String], into reply: inout ByteBuffer) {
            reply.writeInteger(Int32(ids.count))
            for id in ids {
                let group = script.groups.first { $0.id == id } ?? Group(id: id, state: "Dead", assignor: "")
                reply.writeInteger(group.error)
                for text in [id, group.state, "consumer", group.assignor] { reply.writeText(text) }
                reply.writeInteger(Int32(group.members.count))
                for (index, member) in group.members.enumerated() {
                    for text in ["\(member)-\(index)", member, "/10.0.0.\(index + 1)"] { reply.writeText(text) }
                    reply.writeInteger(Int32(0))
                    // An assignment of nothing: version, topics, user data.
                    reply.writeInteger(Int32(10))
                    reply.writeInteger(Int16(0))
                    reply.writeInteger(Int32(0))
                    reply.writeInteger(Int32(-1))
                }
            }
        }

        private func settings(_ request: inout ByteBuffer, into reply: inout ByteBuffer) {
            reply.writeInteger(Int32(0))
            let count: Int32 = request.readInteger() ?? 0
            reply.writeInteger(count)
            for _ in 0..<count {
                let kind: UInt8 = request.readInteger() ?? 0
                let name = request.readText() ?? ""
                // The names of settings that are asked for: -1, all.
                _ = request.readInteger(as: Int32.self)
                let topic = script.topics.first { $0.name == name }
                reply.writeInteger(Int16(topic == nil ? 3 : 0))
                reply.writeText(nil)
                reply.writeInteger(kind)
                reply.writeText(name)
                let settings = topic?.settings ?? [:]
                reply.writeInteger(Int32(settings.count))
                for (name, value) in settings {
                    reply.writeText(name)
                    reply.writeText(value)
                    for _ in 0..<3 { reply.writeInteger(UInt8(0)) }
                }
            }
        }
    }
}

extension ByteBuffer {
    /// A string of Kafka's protocol; nil: null.
    fileprivate mutating func readText() -> String? {
        guard let count: Int16 = readInteger(), count >= 0 else { return nil }
        return readString(length: Int(count))
    }

    fileprivate mutating func readTexts() -> [String] {
        guard let count: Int32 = readInteger(), count > 0 else { return [] }
        return (0..<count).compactMap { _ in readText() }
    }

    fileprivate mutating func writeText(_ text: String?) {
        guard let text else {
            writeInteger(Int16(-1))
            return
        }
        writeInteger(Int16(text.utf8.count))
        writeString(text)
    }

    fileprivate mutating func writeTexts(_ texts: [String]) {
        writeInteger(Int32(texts.count))
        for text in texts { writeText(text) }
    }
}
