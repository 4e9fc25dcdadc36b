import CoreMetrics
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import HTTPEdge

@Suite("The deadlines of a connection")
struct GateDeadlineTests {
    private let loop = EmbeddedEventLoop()

    /// Head within 15 s, body within 10 s, reply taken within 30 s.
    private func connection() throws -> EmbeddedChannel {
        let book = ConnectionBook(
            listener: "test", bounds: .init(connections: 10, perClient: 10), metrics: NOOPMetricsHandler.instance)
        let channel = EmbeddedChannel(loop: loop)
        let address = try SocketAddress(ipAddress: "10.0.0.1", port: 1)
        try channel.connect(to: address).wait()
        channel.remoteAddress = address
        let id = try #require(book.admit(channel))
        try channel.pipeline.syncOperations.addHandler(
            HTTPGate(
                deadlines: .init(head: .seconds(15), body: .seconds(10), response: .seconds(30)), book: book, id: id,
                refuse: HTTPRefusalReply.text))
        return channel
    }

    private func head(_ method: HTTPMethod) -> HTTPServerRequestPart {
        .head(HTTPRequestHead(version: .http1_1, method: method, uri: "/", headers: ["Host": "a"]))
    }

    private static var reply: HTTPServerResponsePart {
        .head(HTTPResponseHead(version: .http1_1, status: .ok, headers: ["Content-Length": "0"]))
    }

    @Test("a connection that sends no head is closed, and not before")
    func silent() throws {
        let channel = try connection()
        loop.advanceTime(by: .milliseconds(14_999))
        #expect(channel.isActive)
        loop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
    }

    @Test("a body has its time from its own head, also when an earlier deadline was kept in between")
    func body() throws {
        let channel = try connection()
        loop.advanceTime(by: .seconds(14))
        try channel.writeInbound(head(.POST))
        loop.advanceTime(by: .milliseconds(9999))
        try channel.throwIfErrorCaught()
        loop.advanceTime(by: .milliseconds(1))
        #expect(throws: HTTPRefusal.bodyDeadline) { try channel.throwIfErrorCaught() }
    }

    @Test("requests that are in time meet no deadline of those before them")
    func inTime() throws {
        let channel = try connection()
        for _ in 0..<20 {
            loop.advanceTime(by: .seconds(9))
            try channel.writeInbound(head(.POST))
            loop.advanceTime(by: .seconds(9))
            try channel.writeInbound(HTTPServerRequestPart.end(nil))
            try channel.writeOutbound(Self.reply)
            loop.advanceTime(by: .seconds(9))
            try channel.writeOutbound(HTTPServerResponsePart.end(nil))
            try channel.throwIfErrorCaught()
            #expect(channel.isActive)
        }
    }

    @Test("a reply that is not taken ends the connection, and one that is taken late does not")
    func reader() throws {
        let channel = try connection()
        for isTaken in [true, false] {
            try channel.writeInbound(head(.GET))
            try channel.writeInbound(HTTPServerRequestPart.end(nil))
            channel.write(Self.reply, promise: nil)
            channel.write(HTTPServerResponsePart.end(nil), promise: nil)
            loop.advanceTime(by: .milliseconds(29_999))
            #expect(channel.isActive)
            if isTaken { channel.flush() }
            loop.advanceTime(by: .milliseconds(1))
            #expect(channel.isActive == isTaken)
        }
    }
}
