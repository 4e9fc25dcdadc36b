import CoreMetrics
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import HTTPEdge

@Suite("The connections of a listener")
struct ConnectionBookTests {
    private let loop = EmbeddedEventLoop()

    private func book(
        _ connections: Int, perClient: Int = 1000, proxies: String = "",
        onSaturation: @escaping @Sendable (String?) -> Void = { _ in }
    ) throws -> ConnectionBook {
        ConnectionBook(
            listener: "test", bounds: .init(connections: connections, perClient: perClient),
            proxies: try #require(TrustedProxies(parsing: proxies)), metrics: NOOPMetricsHandler.instance,
            onSaturation: onSaturation)
    }

    private func connection(_ address: String) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(loop: loop)
        try channel.pipeline.syncOperations.addHandler(ConnectionCut())
        try channel.connect(to: SocketAddress(ipAddress: address, port: 1)).wait()
        channel.remoteAddress = try SocketAddress(ipAddress: address, port: 1)
        return channel
    }

    @Test("at the bound the longest idle connection is closed, and one with a request under way is not")
    func room() throws {
        let book = try book(3, perClient: 1)
        let channels = try (1...5).map { try connection("10.0.0.\($0)") }
        let first = try #require(book.admit(channels[0]))
        let second = try #require(book.admit(channels[1]))
        #expect(book.admit(channels[2]) != nil)
        #expect(book.busy(first, forwardedFor: []))
        #expect(book.busy(second, forwardedFor: []))
        book.idle(second)
        #expect(book.admit(channels[3]) != nil)
        loop.run()
        #expect(channels.prefix(4).map(\.isActive) == [true, true, false, true], "the third was idle longest")
        #expect(book.count == 3)
        #expect(book.admit(channels[4]) != nil)
        loop.run()
        #expect(channels.map(\.isActive) == [true, false, false, true, true])
    }

    @Test("an address at its bound loses its own longest idle connection, and others lose none")
    func perClient() throws {
        let book = try book(100, perClient: 2)
        let mine = try (0..<3).map { _ in try connection("10.0.0.1") }
        let other = try connection("10.0.0.2")
        #expect(book.admit(other) != nil)
        let ids = mine.map { book.admit($0) }
        loop.run()
        #expect(mine.map(\.isActive) == [false, true, true])
        #expect(other.isActive)
        for id in ids.compactMap({ $0 }) { #expect(book.busy(id, forwardedFor: [])) }
        #expect(book.admit(try connection("10.0.0.1")) == nil, "all of its own have a request under way")
        #expect(book.admit(try connection("10.0.0.3")) != nil)
    }

    @Test("one address has half of a listener at most, and an IPv6 network counts as one address")
    func shares() throws {
        let book = try book(4)
        #expect(book.bounds.perClient == 2)
        let channels = try ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map { try connection($0) }
        for channel in channels { _ = book.admit(channel) }
        loop.run()
        #expect(channels.map(\.isActive) == [false, true, true])
        #expect(ClientAddress("::ffff:10.0.0.1") == ClientAddress("10.0.0.1"))
        #expect(ClientAddress("2001:db8:0:1::1") != ClientAddress("2001:db8::1"))
    }

    @Test("a proxy's connection counts for the client of its request, by the last address that is no proxy")
    func proxied() throws {
        let book = try book(100, perClient: 2, proxies: "10.0.0.0/8")
        let ids = try (0..<5).map { _ in try #require(book.admit(try connection("10.0.0.9"))) }
        let header = ["1.1.1.1, 192.0.2.1", "10.0.0.7"]
        #expect(book.busy(ids[0], forwardedFor: header))
        #expect(book.busy(ids[1], forwardedFor: header))
        #expect(!book.busy(ids[2], forwardedFor: header))
        #expect(book.busy(ids[3], forwardedFor: ["192.0.2.1, 192.0.2.2"]), "another client")
        book.idle(ids[0])
        #expect(book.busy(ids[2], forwardedFor: header))
        let direct = try #require(book.admit(try connection("192.0.2.3")))
        #expect(book.busy(direct, forwardedFor: header), "who is no proxy speaks for itself")
    }

    @Test("a listener whose connections all have a request under way refuses, and says so until it is over")
    func saturated() throws {
        let told = Mutex<[Bool]>([])
        let book = try book(2, perClient: 1) { reason in told.withLock { $0.append(reason != nil) } }
        for index in 1...2 {
            let id = try #require(book.admit(try connection("10.0.0.\(index)")))
            #expect(book.busy(id, forwardedFor: []))
        }
        #expect(book.admit(try connection("10.0.0.3")) == nil)
        #expect(book.admit(try connection("10.0.0.4")) == nil)
        #expect(told.withLock { $0 } == [true])
    }

    @Test("a connection that is gone leaves its place")
    func gone() throws {
        let book = try book(10, perClient: 1)
        for _ in 0..<50 {
            let channel = try connection("10.0.0.1")
            let id = try #require(book.admit(channel))
            #expect(book.busy(id, forwardedFor: []))
            book.idle(id)
            try channel.close().wait()
            loop.run()
        }
        #expect(book.count == 0)
    }

    @Test(
        "the bound of a listener is its share of the files that are left",
        arguments: [
            (10_000, 1, 65_536, 10_000), (10_000, 1, 1024, 704), (10_000, 2, 1024, 352), (100, 1, 1024, 100),
            (10_000, 1, 256, 16),
        ])
    func files(wanted: Int, listeners: Int, limit: Int, bound: Int) {
        #expect(OpenFiles.bound(atMost: wanted, listeners: listeners, limit: limit) == bound)
    }
}
