import Foundation
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOPosix
import Simulators
import Synchronization
import Testing

@testable import GuardedHTTP

/// Rows of the table that need a name server or a connection, and what is no row: how answers are read.
@Suite("The guarded client", .timeLimit(.minutes(5)))
struct ConnectorTests {
    static func post(
        _ client: GuardedClient, _ text: String, readTimeout: Duration = .seconds(10), within: Duration = .seconds(60)
    ) async throws -> HTTPAnswer {
        let url = try client.url(text)
        return try await client.post(
            url, target: url.target, headers: [("Content-Type", "text/plain")], body: Array("hello".utf8),
            connectTimeout: .seconds(5), readTimeout: readTimeout, until: .now + within)
    }

    /// Runs `body` with a receiver that answers 204, and a client that trusts it, asks `names`, and may reach
    /// `allowed`.
    static func scene(
        hosts: [String] = ["localhost", "127.0.0.1", "hook.example.com"], allowed: String = "127.0.0.0/8",
        names: SimulatedNameServer? = nil, host: String = "127.0.0.1", port: Int = 0,
        script: @escaping @Sendable (ReceivedRequest) -> ReceiverAnswer = { _ in .status(204) },
        _ body: (GuardedClient, _ port: Int, SimulatedReceiver) async throws -> Void
    ) async throws {
        let certificates = try SimulatedCertificates(hosts: hosts)
        let caFile = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).pem").path
        try certificates.writePEM(to: caFile)
        defer { try? FileManager.default.removeItem(atPath: caFile) }
        let receiver = SimulatedReceiver(certificates: certificates, script: script)
        let port = try await receiver.start(host: host, port: port)
        var rules = try #require(OutboundRules(parsing: allowed))
        rules.allowsClearText = true
        let client = try GuardedClient(
            rules: rules, servers: NameServers(servers: names.map { [$0.address] } ?? []), caFile: caFile)
        do {
            try await body(client, port, receiver)
        } catch {
            await client.close()
            await receiver.stop()
            throw error
        }
        await client.close()
        await receiver.stop()
    }

    @Test("posts over TLS and uses the connection again")
    func keepsAlive() async throws {
        let seen = Mutex<[ReceivedRequest]>([])
        try await Self.scene(script: { request in
            seen.withLock { $0.append(request) }
            return .status(200, body: "thanks")
        }) { client, port, _ in
            for _ in 0..<3 {
                let answer = try await Self.post(client, "https://127.0.0.1:\(port)/hook?a=1#rc=1")
                #expect(answer.status == 200)
                #expect(answer.body == Array("thanks".utf8))
            }
        }
        let requests = seen.withLock { $0 }
        #expect(requests.map(\.connection) == [1, 1, 1])
        #expect(requests.first?.target == "/hook?a=1")
        #expect(requests.first?.body == Array("hello".utf8))
        #expect(requests.first?.header("host")?.hasPrefix("127.0.0.1:") == true)
    }

    @Test(
        "row 14: a public name with a private answer is refused, and nothing is connected",
        arguments: [
            "127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254", "168.63.129.16",
        ])
    func privateAnswer(address: String) async throws {
        let names = try await SimulatedNameServer { _, _, _ in .addresses([address]) }
        try await Self.scene(allowed: "198.51.100.7", names: names) { client, port, receiver in
            await #expect(throws: GuardedHTTPError.self) {
                do { _ = try await Self.post(client, "https://hook.example.com/") } catch let error as GuardedHTTPError
                {
                    if case .refused = error { throw error }
                    Issue.record("\(error)")
                }
            }
            #expect(receiver.connectionCount == 0)
        }
        await names.stop()
    }

    @Test("row 63: a name that changes between two requests is judged each time (DNS rebinding)")
    func rebinding() async throws {
        // Allowed at first, then our own network. The time to live is zero, as an attacker sets it.
        let asked = Atomic64()
        let names = try await SimulatedNameServer { _, isIPv6, _ in
            guard !isIPv6 else { return .addresses([]) }
            return .addresses([asked.next() == 0 ? "127.0.0.1" : "10.0.0.1"])
        }
        try await Self.scene(names: names, script: { _ in .status(204, headers: [("Connection", "close")]) }) {
            client, port, receiver in
            // The port is none of the public ones: it is allowed for the test by its name.
            let rules = try #require(OutboundRules(parsing: "127.0.0.0/8"))
            let url = try CustomerURL("https://hook.example.com/", rules: rules)
            #expect(rules.refusal(of: try #require(IPAddress("10.0.0.1")), behind: url) != nil)
            let judged = JudgedAddresses(rules: rules, servers: NameServers(servers: [names.address]))
            let loop = receiverLoop
            #expect(try await judged.addresses(of: url, on: loop) == [IPAddress("127.0.0.1")])
            await #expect(throws: GuardedHTTPError.refused(detail: "10.0.0.1: private")) {
                try await judged.addresses(of: url, on: loop)
            }
        }
        await names.stop()
    }

    @Test("row 63: what is connected is what was judged: one look-up for each new connection")
    func oneLookup() async throws {
        let names = try await SimulatedNameServer { _, isIPv6, number in
            // A second look-up within the same request would be told another address.
            isIPv6 ? .addresses([]) : .addresses([number < 2 ? "127.0.0.1" : "10.0.0.1"])
        }
        try await Self.scene(allowed: "127.0.0.0/8,hook.example.com", names: names) { client, port, receiver in
            let answer = try await Self.post(client, "https://hook.example.com:\(port)/")
            #expect(answer.status == 204)
            #expect(receiver.connectionCount == 1)
        }
        await names.stop()
    }

    @Test("row 66: the second address, and a new connection in place of a closed one, are judged like the first")
    func secondTry() async throws {
        let isMoved = Atomic(false)
        let names = try await SimulatedNameServer { _, isIPv6, _ in
            if isIPv6 { return .addresses([]) }
            // Nothing listens at the first one.
            return .addresses(isMoved.load(ordering: .relaxed) ? ["10.0.0.1"] : ["127.66.0.2", Self.ownHost])
        }
        // The allow-list names a network and not the host, so that the addresses behind the host are judged.
        try await Self.scene(names: names, host: Self.ownHost, port: 8443) { client, _, receiver in
            let url = "https://hook.example.com:8443/"
            #expect(try await Self.post(client, url).status == 204)
            await receiver.goDown()
            try await receiver.start(host: Self.ownHost, port: 8443)
            isMoved.store(true, ordering: .relaxed)
            await #expect(throws: GuardedHTTPError.refused(detail: "10.0.0.1: private")) {
                try await Self.post(client, url)
            }
            #expect(receiver.connectionCount == 1)
        }
        await names.stop()
    }

    /// An address whose public ports no other test uses.
    private static let ownHost = "127.66.0.1"

    @Test("row 67: an idle connection serves no other name, and no URL that the present rules refuse")
    func stalePermission() async throws {
        let names = try await SimulatedNameServer { _, isIPv6, _ in .addresses(isIPv6 ? [] : ["10.0.0.1"]) }
        try await Self.scene(names: names) { client, port, receiver in
            #expect(try await Self.post(client, "https://127.0.0.1:\(port)/").status == 204)
            await #expect(throws: GuardedHTTPError.refused(detail: "10.0.0.1: private")) {
                try await Self.post(client, "https://hook.example.com:8443/")
            }
            // Registered while the rules allowed it.
            let other = try #require(OutboundRules(parsing: "127.0.0.0/8,old.example.com"))
            let url = try CustomerURL("https://old.example.com:\(port)/", rules: other)
            await #expect(throws: GuardedHTTPError.refused(detail: "the URL")) {
                try await client.post(
                    url, target: url.target, headers: [], body: [], connectTimeout: .seconds(5),
                    readTimeout: .seconds(5), until: .now + .seconds(60))
            }
            #expect(receiver.connectionCount == 1)
        }
        await names.stop()
    }

    @Test("row 64: one private answer beside a public one refuses all")
    func mixedAnswer() async throws {
        let names = try await SimulatedNameServer { _, isIPv6, _ in
            isIPv6 ? .addresses(["2606:4700::1111"]) : .addresses(["8.8.8.8", "10.0.0.1"])
        }
        let judged = JudgedAddresses(rules: OutboundRules(), servers: NameServers(servers: [names.address]))
        let url = try CustomerURL("https://hook.example.com/", rules: OutboundRules())
        await #expect(throws: GuardedHTTPError.refused(detail: "10.0.0.1: private")) {
            try await judged.addresses(of: url, on: receiverLoop)
        }
        await names.stop()
    }

    @Test("row 65: addresses behind an alias are judged as well")
    func alias() async throws {
        let names = try await SimulatedNameServer { _, isIPv6, _ in isIPv6 ? .addresses([]) : .alias(["192.168.0.7"]) }
        let judged = JudgedAddresses(rules: OutboundRules(), servers: NameServers(servers: [names.address]))
        let url = try CustomerURL("https://hook.example.com/", rules: OutboundRules())
        await #expect(throws: GuardedHTTPError.refused(detail: "192.168.0.7: private")) {
            try await judged.addresses(of: url, on: receiverLoop)
        }
        await names.stop()
    }

    @Test("answers of name servers are read: over TCP when cut, none, failing, IPv4 before IPv6")
    func nameServerAnswers() async throws {
        let names = try await SimulatedNameServer { name, isIPv6, _ in
            switch name {
            case "tcp.example.com": .onlyOverTCP(["8.8.8.8"])
            case "none.example.com": .noSuchName
            case "both.example.com": .addresses(["2606:4700::1111", "8.8.4.4"])
            default: .fails
            }
        }
        let judged = JudgedAddresses(
            rules: OutboundRules(), servers: NameServers(servers: [names.address]),
            bounds: JudgedAddresses.Bounds(deadline: .seconds(20)))
        func ask(_ name: String) async throws -> [String] {
            let url = try CustomerURL("https://\(name)/", rules: OutboundRules())
            return try await judged.addresses(of: url, on: receiverLoop).map(\.description)
        }
        #expect(try await ask("tcp.example.com") == ["8.8.8.8"])
        #expect(try await ask("both.example.com") == ["8.8.4.4", "2606:4700::1111"])
        await #expect(throws: GuardedHTTPError.nameNotFound) { try await ask("none.example.com") }
        await #expect(throws: GuardedHTTPError.nameServerSilent) { try await ask("other.example.com") }
        await names.stop()
    }

    @Test("a zone whose servers are silent delays no other zone")
    func silentZone() async throws {
        let names = try await SimulatedNameServer { name, isIPv6, _ in
            name.hasSuffix("slow.example") ? .silent : isIPv6 ? .addresses([]) : .addresses(["8.8.8.8"])
        }
        let judged = JudgedAddresses(
            rules: OutboundRules(), servers: NameServers(servers: [names.address]),
            bounds: JudgedAddresses.Bounds(deadline: .seconds(20), mostPerDomain: 4))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<4 {
                let slow = try CustomerURL("https://a\(number).slow.example/", rules: OutboundRules())
                group.addTask { _ = try? await judged.addresses(of: slow, on: receiverLoop) }
            }
            let quick = try CustomerURL("https://b.quick.example/", rules: OutboundRules())
            #expect(try await judged.addresses(of: quick, on: receiverLoop) == [IPAddress("8.8.8.8")])
            group.cancelAll()
        }
        await names.stop()
    }

    @Test("a cancelled request does not wait for a peer: not for its handshake, and not for its end of the connection")
    func cancelled() async throws {
        // Accepts connections and says nothing.
        let (connections, connected) = AsyncStream.makeStream(of: Void.self)
        let silent = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                connected.yield()
                return channel.eventLoop.makeSucceededVoidFuture()
            }
            .childChannelOption(.autoRead, value: false).bind(host: "127.0.0.1", port: 0).get()
        let silentPort = try #require(silent.localAddress?.port)
        try await Self.scene { client, _, _ in
            // Without the cancellation it would last longer than the test may.
            let request = Task {
                try await Self.post(
                    client, "https://127.0.0.1:\(silentPort)/", readTimeout: .seconds(3600), within: .seconds(3600))
            }
            for await _ in connections { break }
            request.cancel()
            await #expect(throws: GuardedHTTPError.cancelled) { try await request.value }
        }
        try await silent.close()

        let channel = EmbeddedChannel()
        let handler = ExchangeHandler(isTLS: false, ready: channel.eventLoop.makePromise())
        try channel.pipeline.syncOperations.addHandlers(NeverCloses(), handler)
        try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1))
        let exchanges = (0..<2).map { _ in ExchangeHandler.Exchange() }
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: "/")
        let answer = handler.send(
            head, ByteBuffer(), as: exchanges[0], readTimeout: .seconds(15), until: .distantFuture)
        let end = Mutex<(any Error)?>(nil)
        answer.whenFailure { error in end.withLock { $0 = error } }
        // Of an exchange that has ended, or has not begun: it ends no other.
        handler.cancel(exchanges[1])
        #expect(end.withLock { $0 } == nil)
        handler.cancel(exchanges[0])
        #expect(channel.isActive)
        #expect(end.withLock { $0 as? GuardedHTTPError } == .cancelled)
        let second = handler.send(
            head, ByteBuffer(), as: exchanges[1], readTimeout: .seconds(15), until: .distantFuture)
        #expect(throws: GuardedHTTPError.cancelled) { try second.wait() }
    }

    /// A peer that does not answer the end of a connection.
    private final class NeverCloses: ChannelOutboundHandler {
        typealias OutboundIn = NIOAny
        func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {}
        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            promise?.succeed()
        }
    }

    @Test("rows 37, 38: an address of our own is refused behind a public name")
    func ownAddress() async throws {
        let names = try await SimulatedNameServer { _, isIPv6, _ in isIPv6 ? .addresses([]) : .addresses(["8.8.8.8"]) }
        var rules = OutboundRules()
        rules.ownAddresses = [try #require(IPAddress("8.8.8.8"))]
        let judged = JudgedAddresses(rules: rules, servers: NameServers(servers: [names.address]))
        let url = try CustomerURL("https://hook.example.com/", rules: rules)
        await #expect(throws: GuardedHTTPError.refused(detail: "8.8.8.8: an address of our own")) {
            try await judged.addresses(of: url, on: receiverLoop)
        }
        await names.stop()
    }

    @Test("row 62: a redirect is an answer like any other, and is not followed", arguments: [301, 302, 303, 307, 308])
    func redirect(status: Int) async throws {
        try await Self.scene(script: { _ in
            .status(status, headers: [("Location", "http://169.254.169.254/"), ("Refresh", "0; url=http://10.0.0.1/")])
        }) { client, port, receiver in
            let answer1 = try await Self.post(client, "https://127.0.0.1:\(port)/")
            #expect(answer1.status == status)
            #expect(receiver.connectionCount == 1)
        }
    }

    @Test("row 69: the certificate must be for the name")
    func wrongName() async throws {
        try await Self.scene(hosts: ["other.example.com"]) { client, port, _ in
            await #expect(throws: GuardedHTTPError.self) {
                do { _ = try await Self.post(client, "https://127.0.0.1:\(port)/") } catch let error as GuardedHTTPError
                {
                    guard case .tls(.name, _) = error else {
                        Issue.record("\(error)")
                        return
                    }
                    throw error
                }
            }
        }
    }

    @Test("row 69: the certificate must be signed by a root that we trust")
    func wrongRoot() async throws {
        try await Self.scene { client, port, receiver in
            let stranger = SimulatedReceiver(certificates: try SimulatedCertificates(hosts: ["127.0.0.1"])) { _ in
                .status(204)
            }
            let port = try await stranger.start()
            do {
                _ = try await Self.post(client, "https://127.0.0.1:\(port)/")
                Issue.record("a stranger's certificate is trusted")
            } catch let error as GuardedHTTPError {
                guard case .tls(.certificate, _) = error else {
                    Issue.record("\(error)")
                    return await stranger.stop()
                }
            }
            await stranger.stop()
        }
    }

    @Test("an endpoint that asks for a client certificate gets the one that was configured")
    func clientCertificate() async throws {
        let (servers, clients) = (try SimulatedCertificates(), try SimulatedCertificates(hosts: ["relay"]))
        let receiver = SimulatedReceiver(certificates: servers, clients: clients) { _ in .status(204) }
        let port = try await receiver.start()
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func path(_ name: String) -> String { folder.appending(path: name).path }
        try servers.writePEM(to: path("ca.pem"))
        try clients.writeIdentity(certificateFile: path("relay.pem"), keyFile: path("relay.key"))
        let rules = try #require(OutboundRules(parsing: "127.0.0.0/8"))
        let identity = ClientIdentity(certificateFile: path("relay.pem"), keyFile: path("relay.key"))
        let cases: [(ClientIdentity?, isTaken: Bool)] = [(identity, true), (nil, false)]
        for (identity, isTaken) in cases {
            let client = try GuardedClient(rules: rules, caFile: path("ca.pem"), identity: identity)
            do {
                #expect(try await Self.post(client, "https://127.0.0.1:\(port)/").status == 204)
                #expect(isTaken)
            } catch is GuardedHTTPError {
                #expect(!isTaken)
            }
            await client.close()
        }
        await receiver.stop()
    }

    @Test("clear text reaches hosts of the allow-list only")
    func clearText() async throws {
        let rules = try #require(OutboundRules(parsing: "127.0.0.0/8"))
        let client = try GuardedClient(rules: rules)
        #expect(throws: CustomerURLError.refused) { try client.url("http://127.0.0.1:8080/") }
        await client.close()
    }
}

/// A loop for look-ups without a client.
private let receiverLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()

final class Atomic64: Sendable {
    private let value = Atomic(0)
    func next() -> Int { value.add(1, ordering: .relaxed).oldValue }
    var count: Int { value.load(ordering: .relaxed) }
}
