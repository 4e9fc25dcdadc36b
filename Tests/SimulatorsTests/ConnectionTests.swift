import AsyncHTTPClient
import Foundation
import NIOHTTP1
import NIOHTTP2
import ServiceLifecycle
import Testing

@testable import Simulators

@Suite("Look-alikes' connections and faults", .timeLimit(.minutes(5)))
struct ConnectionTests {
    private static func connect(_ lab: Lab, first: [TestPush] = []) async throws -> RawHTTP2Client {
        let port = try #require(URL(string: lab.addresses.apnsURL)?.port)
        return try await RawHTTP2Client(port: port, certificates: lab.providers.certificates, first: first)
    }

    private static func pushes(_ lab: Lab, _ count: Int) -> [TestPush] {
        (0..<count).map { index in
            var push = TestPush(authorization: lab.authorization)
            push.body = Array(#"{"aps":{"alert":"x"},"challenge_sid":"YC\#(index)"}"#.utf8)
            return push
        }
    }

    @Test("before the first authenticated answer one stream is allowed, and a second one refused; then a thousand")
    func firstStream() async throws {
        try await Lab.run { lab in
            let raw = try await Self.connect(lab)
            var frames = raw.frames.makeAsyncIterator()
            #expect(await next(&frames) { _ in true }.hit == .settings(maxStreams: 1))
            lab.providers.setFaults(ProviderFaults.with { $0.latencyMs = 100 }, .apn)
            let good = Self.pushes(lab, 1)
            try await raw.send(good)
            #expect(await next(&frames) { _ in true }.hit == .settings(maxStreams: 1000))
            #expect(await next(&frames) { _ in true }.hit == .answer(stream: 1, status: "200"))
            try await raw.send(Self.pushes(lab, 50), firstStream: 3)
            for _ in 0..<50 {
                let answer = await next(&frames) { if case .answer = $0 { true } else { false } }
                #expect(answer.hit != nil)
            }
            #expect(lab.providers.network.counters(.apn).accepted == 51)
            await raw.close()
        }
    }

    @Test("a refused token does not open the connection for more streams")
    func notAuthenticated() async throws {
        try await Lab.run { lab in
            let raw = try await Self.connect(lab)
            var frames = raw.frames.makeAsyncIterator()
            var bad = Self.pushes(lab, 1)
            bad[0].set("authorization", "bearer x")
            try await raw.send(bad)
            #expect(await next(&frames) { $0 == .answer(stream: 1, status: "403") }.hit != nil)
            // A bad topic comes after the token: that is an authenticated answer.
            var late = Self.pushes(lab, 1)
            late[0].set("apns-topic", "a b")
            try await raw.send(late, firstStream: 3)
            #expect(await next(&frames) { _ in true }.hit == .settings(maxStreams: 1000))
            #expect(await next(&frames) { _ in true }.hit == .answer(stream: 3, status: "400"))
            await raw.close()
        }
    }

    @Test("early streams that are sent before the server's settings are refused one by one")
    func earlyStreams() async throws {
        try await Lab.run { lab in
            lab.providers.setFaults(ProviderFaults.with { $0.latencyMs = 200 }, .apn)
            // Written with the preface, before anything of the server was read.
            let raw = try await Self.connect(lab, first: Self.pushes(lab, 100))
            var frames = raw.frames.makeAsyncIterator()
            let (hit, before) = await next(&frames) { $0 == .answer(stream: 1, status: "200") }
            #expect(hit != nil)
            #expect(before.contains(.reset(stream: 3, code: .refusedStream)))
            #expect(before.contains(.reset(stream: 5, code: .refusedStream)))
            #expect(lab.providers.network.counters(.apn).earlyStreams == 99)
            #expect(lab.providers.network.counters(.apn).accepted == 1)
            // Refused streams do not harm the connection.
            try await raw.send(Self.pushes(lab, 1), firstStream: 201)
            #expect(await next(&frames) { $0 == .answer(stream: 201, status: "200") }.hit != nil)
            await raw.close()
        }
    }

    @Test(
        "GOAWAY after N streams: those up to it are answered, those after it never looked at, then the connection ends")
    func goAway() async throws {
        try await Lab.run { lab in
            let raw = try await Self.connect(lab)
            var frames = raw.frames.makeAsyncIterator()
            try await raw.send(Self.pushes(lab, 1))
            _ = await next(&frames) { $0 == .answer(stream: 1, status: "200") }
            lab.providers.setFaults(ProviderFaults.with { $0.goAwayEveryStreams = 11 }, .apn)
            try await raw.send(Self.pushes(lab, 30), firstStream: 3)
            var all: [Seen] = []
            while let seen = await frames.next(isolation: nil) { all.append(seen) }
            #expect(all.contains(.goAway(last: 21)))
            let answered = all.compactMap { if case .answer(let stream, "200") = $0 { stream } else { nil } }
            #expect(answered.sorted() == Array(stride(from: 3, through: 21, by: 2)))
            #expect(lab.providers.network.counters(.apn).accepted == 11)
            #expect(lab.providers.network.counters(.apn).goAways == 1)
            #expect(all.last == .closed)
        }
    }

    @Test("a connection that is cut ends without GOAWAY")
    func cut() async throws {
        try await Lab.run { lab in
            let raw = try await Self.connect(lab)
            var frames = raw.frames.makeAsyncIterator()
            try await raw.send(Self.pushes(lab, 1))
            _ = await next(&frames) { $0 == .answer(stream: 1, status: "200") }
            try await lab.providers.cutConnections(.apn)
            let (hit, before) = await next(&frames) { $0 == .closed }
            #expect(hit == .closed && before.isEmpty)
            try await eventually("the connection is counted as closed") {
                lab.providers.network.counters(.apn).connectionsOpen == 0
            }
            #expect(lab.providers.network.counters(.apn).cuts == 1)
        }
    }

    @Test("what is never answered leaves the others alone; with delivery the phone gets it all the same")
    func silence() async throws {
        try await Lab.run { lab in
            let pushes = try lab.providers.network.receive(.apn, token: TestPush.token, appID: "dev.app")
            #expect(try await lab.push().status == 200)
            lab.providers.setFaults(
                ProviderFaults.with {
                    $0.neverAnswerShare = 1
                    $0.neverAnswerDelivers = true
                }, .apn)
            await #expect(throws: (any Error).self) {
                var push = TestPush(authorization: lab.authorization)
                push.body = Array(#"{"aps":{"alert":"x"},"challenge_sid":"YC2"}"#.utf8)
                _ = try await lab.send("POST", lab.addresses.apnsURL + push.path, push.headers, push.body, seconds: 1)
            }
            lab.providers.setFaults(ProviderFaults(), .apn)
            #expect(try await lab.push().status == 200, "the same connection serves on")
            var seen: [String] = []
            for await push in pushes {
                seen.append(push.values["challenge_sid"] ?? "")
                if seen.count == 3 { break }
            }
            #expect(seen == ["YC1", "YC2", "YC1"])
            let counters = lab.providers.network.counters(.apn)
            #expect(counters.silenced == 1 && counters.duplicates == 1 && counters.connections == 1)
        }
    }

    @Test("errors, outages, resets, latency and drops happen when and as they are switched on")
    func faults() async throws {
        try await Lab.run { lab in
            func push(_ faults: (inout ProviderFaults) -> Void) async throws -> TestAnswer {
                lab.providers.setFaults(ProviderFaults.with(faults), .apn)
                return try await lab.push()
            }
            let error = try await push {
                $0.errorShare = 1
                $0.errorReason = "TooManyRequests"
                $0.retryAfterSeconds = 7
            }
            #expect(error.status == 429 && error.reason == "TooManyRequests")
            #expect(error.headers.first(name: "retry-after") == "7")
            #expect(try await push { $0.errorShare = 1 }.reason == "InternalServerError")

            #expect(try await push { $0.unavailableForMs = 1000 }.status == 503)
            lab.clock.advance(ms: 999)
            #expect(try await lab.push().status == 503)
            lab.clock.advance(ms: 1)
            #expect(try await lab.push().status == 200)

            await #expect(throws: (any Error).self) { try await push { $0.resetShare = 1 } }
            let start = ContinuousClock.now
            #expect(try await push { $0.latencyMs = 300 }.status == 200)
            #expect(ContinuousClock.now - start >= .milliseconds(300))

            let before = lab.providers.network.counters(.apn).dropped
            #expect(try await push { $0.dropShare = 1 }.status == 200)
            #expect(lab.providers.network.counters(.apn).dropped == before + 1)
            #expect(lab.providers.network.log().last?.fate == .dropped)
        }
    }

    @Test("run as a service it stops when asked to, though phones still receive from other processes")
    func gracefulShutdown() async throws {
        let providers = try SimulatedProviders(logger: quiet)
        let group = ServiceGroup(services: [providers], logger: quiet)
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let addresses = try await providers.addresses()
            let remote = RemotePushReception(controlURL: addresses.controlURL, client: client)
            let pushes = try await remote.receive(.apn, token: TestPush.token, appID: "dev.app")
            try await eventually("online") { providers.network.isOnline(.apn, token: TestPush.token) }
            await group.triggerGracefulShutdown()
            try await tasks.next()
            #expect(throws: SimulatorError.self) {
                _ = try providers.network.receive(.apn, token: TestPush.token, appID: "dev.app")
            }
            withExtendedLifetime(pushes) {}
        }
        try await client.shutdown()
    }

    @Test("a port that is taken is an error of the start, and of those who wait for it")
    func portTaken() async throws {
        try await Lab.run { lab in
            var configuration = SimulatorConfiguration()
            configuration.apnsPort = try #require(URL(string: lab.addresses.apnsURL)?.port)
            let second = try SimulatedProviders(configuration: configuration, logger: quiet)
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await #expect(throws: (any Error).self) { _ = try await second.addresses() } }
                await #expect(throws: (any Error).self) { try await second.run() }
            }
        }
    }

    @Test("a share of faults is kept to, and the same seed throws the same dice")
    func shares() {
        let injector = FaultInjector(seed: 7, nowMs: { 0 })
        injector.set(ProviderFaults.with { $0.errorShare = 0.1 })
        let first = (0..<10_000).map { _ in injector.decide().harm != nil }
        #expect(800...1200 ~= first.count { $0 })
        let again = FaultInjector(seed: 7, nowMs: { 0 })
        again.set(ProviderFaults.with { $0.errorShare = 0.1 })
        #expect((0..<10_000).map { _ in again.decide().harm != nil } == first)
    }

    @Test("a client that does not speak HTTP/2 gets no connection to APNs")
    func needsHTTP2() async throws {
        try await Lab.run { lab in
            let port = try #require(URL(string: lab.addresses.apnsURL)?.port)
            let fcmPort = try #require(URL(string: lab.addresses.fcmURL)?.port)
            #expect(try await HTTP1Probe.status(port: port, certificates: lab.providers.certificates) == nil)
            #expect(try await HTTP1Probe.status(port: fcmPort, certificates: lab.providers.certificates) == 400)
        }
    }
}

extension ProviderFaults {
    static func with(_ change: (inout ProviderFaults) -> Void) -> ProviderFaults {
        var faults = ProviderFaults()
        change(&faults)
        return faults
    }
}
