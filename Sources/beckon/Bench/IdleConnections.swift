import NIOCore
import NIOPosix

/// Connections that have had one reply and then say nothing.
final class IdleConnections: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let channels: [any Channel]

    /// Opens them, 200 at a time.
    init(port: Int, count: Int) async throws {
        let request = ByteBuffer(string: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        channels = try await withThrowingTaskGroup(of: (any Channel).self) { [group] tasks in
            var channels: [any Channel] = []
            for index in 0..<count {
                if index >= 200, let channel = try await tasks.next() { channels.append(channel) }
                tasks.addTask {
                    // From many addresses: one has its share of a listener only.
                    let channel = try await ClientBootstrap(group: group)
                        .bind(to: try SocketAddress(ipAddress: "127.0.0.\(2 + index / 500 % 200)", port: 0))
                        .connect(host: "127.0.0.1", port: port).get()
                    try await channel.writeAndFlush(request)
                    return channel
                }
            }
            for try await channel in tasks { channels.append(channel) }
            return channels
        }
    }

    /// How many the server has not closed.
    var open: Int { channels.count { $0.isActive } }

    func close() async throws {
        for channel in channels { channel.close(promise: nil) }
        try await group.shutdownGracefully()
    }
}
