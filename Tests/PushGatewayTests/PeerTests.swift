import AsyncHTTPClient
import Foundation
import NIOCore
import NIOSSL
import Testing

@testable import PushGateway
@testable import PushProviders

/// Servers that others wrote: the test's own server and the transport could share a mistake.
@Suite("nginx, nghttpd and Node as peers", .serialized, .timeLimit(.minutes(5)))
struct PeerTests {
    /// 20,000 pushes each with BECKON_TEST_LONG.
    private static func count(_ short: Int) -> Int { ProviderFaultTests.isLong ? 20_000 : short }

    @Test(
        "nginx, which answers before it reads the body, takes every push",
        .enabled(if: Peer.isWanted("nginx"), "nginx is not installed: apt-get install nginx-light"))
    func nginx() async throws {
        try await Peer.nginx { peer in
            let report = try await load(peer, count: Self.count(3000), connections: 1)
            #expect(report.errors == 0)
            #expect(report.connections == 1)
        }
    }

    @Test(
        "nginx that ends its connections after some requests loses none",
        .enabled(if: Peer.isWanted("nginx"), "nginx is not installed: apt-get install nginx-light"),
        arguments: [(100, 200), (500, 100), (500, 900)])
    func nginxGoaway(every: Int, inFlight: Int) async throws {
        try await Peer.nginx(keepaliveRequests: every) { peer in
            let count = Self.count(20 * every)
            let report = try await load(peer, count: count, connections: 2, inFlight: inFlight)
            #expect(report.errors == 0)
            #expect(report.connections >= count / every)
        }
    }

    @Test(
        "nghttpd takes every push",
        .enabled(if: Peer.isWanted("nghttpd"), "nghttpd is not installed: apt-get install nghttp2-server"))
    func nghttpd() async throws {
        try await Peer.nghttpd { peer in
            // It serves files: no such file is 404, an answer all the same.
            let count = Self.count(2000)
            let report = try await load(peer, count: count, connections: 1)
            #expect(report.pushes == count)
            #expect(report.errors == count)
            #expect(report.connections == 1)
            #expect(report.p99Ms < 50_000, "errors are answers, not deadlines")
        }
    }

    @Test(
        "Node's HTTP/2 server takes every push once, also when it ends its connections",
        .enabled(if: Peer.isWanted("node"), "node is not installed: apt-get install nodejs"),
        arguments: [0, 150, 500])
    func node(goawayEvery: Int) async throws {
        try await Peer.node(goawayEvery: goawayEvery) { peer in
            let count = Self.count(1500)
            let report = try await load(peer, count: count, connections: 2)
            #expect(report.errors == 0)
            var configuration = HTTPClient.Configuration()
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.certificateVerification = .none
            configuration.tlsConfiguration = tls
            let client = HTTPClient(configuration: configuration)
            let response = try await client.execute(
                HTTPClientRequest(url: "https://localhost:\(peer.port)/seen"), timeout: .seconds(60))
            let seen = String(buffer: try await response.body.collect(upTo: 1000)).split(separator: " ").compactMap {
                Int($0)
            }
            try await client.shutdown()
            #expect(seen.prefix(2) == [count, count], "pushes seen, and different ids among them")
            if goawayEvery > 0 { #expect(report.connections >= count / goawayEvery - 1) }
        }
    }

    @Test("the load reports what it did, and a server that is away is all errors")
    func away() async throws {
        let port = try await ScriptedServer.run { $0.port }
        let load = SendLoad(
            url: "https://127.0.0.1:\(port)", caFile: try TestCertificate.shared.get().caFile, count: 50, inFlight: 10)
        let report = try await load.run()
        #expect(report.pushes == 50)
        #expect(report.errors == 50)
        #expect(report.connections == 0)
    }

    @Test("at a rate the load hands over what is due, and no faster")
    func rate() async throws {
        try await ScriptedServer.run { server in
            let load = SendLoad(
                url: server.url, caFile: try TestCertificate.shared.get().caFile, count: 200, inFlight: 20, rate: 400)
            let report = try await load.run()
            #expect(report.pushes == 200 && report.errors == 0)
            #expect(report.perSecond <= 402)
        }
    }

    @Test("the load's pushes have ids of their own and about 400 bytes")
    func shape() async throws {
        try await ScriptedServer.run { server in
            let load = SendLoad(
                url: server.url, caFile: try TestCertificate.shared.get().caFile, count: 200, inFlight: 20)
            let report = try await load.run()
            #expect(report.errors == 0)
            #expect(report.connections == 1)
            #expect(report.perSecond > 0 && report.cpuMicrosecondsPerPush > 0)
            #expect(report.p50Ms > 0 && report.p99Ms >= report.p50Ms)
            #expect(server.seen.processed.count == 200)
            #expect(server.seen.duplicates.isEmpty)
            #expect(server.seen.requests.allSatisfy { $0.body.count == 400 })
        }
    }

    private func load(_ peer: Peer, count: Int, connections: Int, inFlight: Int = 200) async throws -> SendLoad.Report {
        try await SendLoad(
            url: "https://localhost:\(peer.port)", caFile: try TestCertificate.shared.get().caFile, count: count,
            inFlight: inFlight, connections: connections, deadlineMs: 60_000
        ).run()
    }
}
