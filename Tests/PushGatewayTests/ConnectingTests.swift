import ChallengeModel
import NIOCore
import Synchronization
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("connecting, bounds and the end", .serialized, .timeLimit(.minutes(5)))
struct ConnectingTests {
    @Test("without a connection a push is deferred, soon, and never unknown")
    func refused() async throws {
        // A port that was free a moment ago.
        let port = try await ScriptedServer.run { $0.port }
        // What waited for the deadline would wait longer than the test may take.
        try await Rig.run("https://127.0.0.1:\(port)", configure: { $0.deadline = .seconds(3600) }) { rig in
            let answers = await rig.volley(20, inFlight: 20)
            #expect(Set(answers.values.joined().map(\.disposition)) == [.deferred])
            #expect(Set(answers.values.joined().map(\.reason)).isSubset(of: ["connection", "circuit-open"]))
            #expect(answers.values.joined().allSatisfy { $0.sentAtMs == 0 && $0.status == 0 && $0.retryAtMs > 0 })
            #expect(rig.gateway.statistics.sum(\.connectFailures) > 0)
        }
    }

    @Test("a certificate that nothing vouches for is no connection")
    func unknownRoot() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url, configure: { $0.caFile = nil }) { rig in
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .deferred)
                #expect(answer.reason == "connection")
                #expect(server.seen.processed.isEmpty)
            }
        }
    }

    @Test("a peer that agrees to no HTTP/2 is no connection")
    func noHTTP2() async throws {
        var script = ScriptedServer.Script()
        script.protocols = ["http/1.1"]
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .deferred)
                #expect(answer.reason == "connection")
            }
        }
    }

    @Test("a peer that accepts TCP and says nothing is given up after the connect timeout")
    func silentPeer() async throws {
        let listener = try await SilentListener.start()
        var tuning = GatewayTuning()
        tuning.connectTimeout = .milliseconds(200)
        try await Rig.run(
            "https://127.0.0.1:\(listener.port)", tuning: tuning, configure: { $0.deadline = .seconds(3600) }
        ) { rig in
            let answer = await rig.send(Rig.push())
            #expect(answer.disposition == .deferred)
            #expect(answer.reason == "connection")
        }
        try await listener.stop()
    }

    @Test("when one address fails the next is tried")
    func secondAddress() async throws {
        let closed = try await ScriptedServer.run { $0.port }
        try await ScriptedServer.run { server in
            var tuning = GatewayTuning()
            tuning.resolve = { _, port in
                [
                    try SocketAddress(ipAddress: "127.0.0.1", port: closed),
                    try SocketAddress(ipAddress: "127.0.0.1", port: port),
                ]
            }
            for _ in 0..<2 {
                try await Rig.run(server.url, tuning: tuning) { rig in
                    #expect(await rig.send(Rig.push()).disposition == .accepted)
                }
            }
            #expect(server.seen.connections == 2)
        }
    }

    @Test("connections spread over the addresses of a name")
    func spread() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 2
        script.react = { _ in .answer(status: 200, afterMs: 20) }
        try await ScriptedServer.run(script) { first in
            try await ScriptedServer.run(script, host: "127.0.0.2", port: first.port) { second in
                var tuning = GatewayTuning()
                tuning.resolve = { _, port in
                    [
                        try SocketAddress(ipAddress: "127.0.0.1", port: port),
                        try SocketAddress(ipAddress: "127.0.0.2", port: port),
                    ]
                }
                try await Rig.run(first.url, tuning: tuning, configure: { $0.maxConnectionsPerHost = 4 }) { rig in
                    let answers = await rig.volley(60, inFlight: 60)
                    #expect(answers.summary == ["accepted": 60])
                    #expect(first.seen.connections == 2)
                    #expect(second.seen.connections == 2)
                }
            }
        }
    }

    @Test("a provider that comes back is used again, and a burst after idleness needs no new connection")
    func comesBack() async throws {
        let port = try await ScriptedServer.run { $0.port }
        try await Rig.run("https://127.0.0.1:\(port)") { rig in
            #expect(await rig.send(Rig.push()).reason == "connection")
            try await ScriptedServer.run(port: port) { server in
                var accepted = false
                let end = ContinuousClock.now + .seconds(90)
                while !accepted, ContinuousClock.now < end {
                    accepted = await rig.send(Rig.push()).disposition == .accepted
                }
                #expect(accepted)
                let connections = server.seen.connections
                #expect(await rig.volley(50, inFlight: 50).summary == ["accepted": 50])
                #expect(server.seen.connections == connections)
            }
        }
    }

    @Test("an expired push is dropped and costs no request")
    func expired() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                let answer = await rig.send(Rig.push(lifeMs: 0))
                #expect(answer == PushAnswer(disposition: .dropped, reason: "expired"))
                #expect(server.seen.connections == 0)
            }
        }
    }

    @Test("a push that expires while it waits for a stream is dropped, not sent")
    func expiresWaiting() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 1
        script.react = { _ in .answer(status: 200, afterMs: 2000) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                async let first = rig.send(Rig.push())
                #expect(await eventually { server.seen.requests.count == 1 })
                let late = await rig.send(Rig.push(lifeMs: 150))
                #expect(late.disposition == .dropped)
                #expect(late.reason == "expired")
                #expect(late.sentAtMs == 0)
                #expect(await first.disposition == .accepted)
                #expect(server.seen.requests.count == 1)
            }
        }
    }

    @Test("headers leave before the expiry, however close it is: with less than 50 ms to go nothing is sent any more")
    func neverLate() async throws {
        // A clock that stands still: on a busy machine any time may pass between a look at a real one and the socket.
        let nowMs = Rig.nowMs()
        var tuning = GatewayTuning()
        tuning.clock = GatewayClock(nowMs: { nowMs })
        try await ScriptedServer.run { server in
            try await Rig.run(server.url, tuning: tuning) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let lives = Mutex<[String: Int64]>([:])
                let answers = await rig.volley(400, inFlight: 400) { number in
                    var push = Rig.push()
                    push.expiresAtMs = nowMs + Int64(number / 2)
                    lives.withLock { $0[push.pushID] = Int64(number / 2) }
                    return push
                }
                #expect(answers.count == 400)
                for (id, answer) in answers.mapValues({ $0[0] }) {
                    let lifeMs = lives.withLock { $0[id] ?? 0 }
                    if lifeMs <= 50 {
                        // Withdrawn: on a busy machine its time has run out before anybody looked at the clock.
                        #expect(["expired", "withdrawn"].contains(answer.reason), "\(lifeMs) ms: \(answer)")
                        #expect(answer.sentAtMs == 0, "\(lifeMs) ms")
                    } else {
                        #expect([0, nowMs].contains(answer.sentAtMs), "\(lifeMs) ms")
                    }
                }
                let late = Set(lives.withLock { $0.filter { $0.value <= 50 }.keys })
                #expect(server.seen.processed.keys.allSatisfy { !late.contains($0) })
            }
        }
    }

    @Test("no push waits for its answer past its own expiry")
    func deadlineIsExpiry() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.number == 1 ? .accept : .stall }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(3600) }) { rig in
                // The handshake is no part of it.
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let answer = await rig.send(Rig.push(lifeMs: 3000))
                #expect(answer.disposition == .unknown)
                #expect(answer.reason == "timeout")
            }
        }
    }

    @Test("beyond the bound pushes are deferred at once")
    func bound() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 200, afterMs: 1000) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxInFlight = 10 }) { rig in
                let answers = await rig.volley(25, inFlight: 25)
                #expect(answers.summary == ["accepted": 10, "deferred busy": 15])
                #expect(answers.values.joined().filter { $0.reason == "busy" }.allSatisfy { $0.retryAtMs > 0 })
                #expect(await rig.send(Rig.push()).disposition == .accepted)
            }
        }
    }

    @Test("close lets what is outstanding end")
    func closeDrains() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 200, afterMs: 200) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                async let answer = rig.send(Rig.push())
                #expect(await eventually { server.seen.requests.count == 1 })
                await rig.gateway.close(deadline: .seconds(5))
                #expect(await answer.disposition == .accepted)
                #expect(rig.gateway.inFlight == 0)
                let late = await rig.send(Rig.push())
                #expect(late.disposition == .deferred)
                #expect(late.reason == "closing")
                #expect(await eventually { server.seen.openConnections == 0 })
            }
        }
    }

    @Test("close ends what is still outstanding at its deadline: sent ones unknown, others deferred")
    func closeAtDeadline() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 2
        script.react = { $0.number == 1 ? .accept : .stall }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                async let answers = rig.volley(5, inFlight: 5)
                #expect(await eventually { server.seen.requests.count == 3 })
                await rig.gateway.close(deadline: .milliseconds(100))
                #expect(await answers.summary == ["unknown connection": 2, "deferred connection": 3])
            }
        }
    }

    @Test("sends from many threads at once are each answered once")
    func manyThreads() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url, configure: { $0.eventLoopThreads = 2 }) { rig in
                let counts = await withTaskGroup(of: [String: Int].self) { group in
                    for _ in 0..<8 { group.addTask { await rig.volley(100, inFlight: 25).summary } }
                    return await group.reduce(into: [String: Int]()) { $0.merge($1) { $0 + $1 } }
                }
                #expect(counts == ["accepted": 800])
                #expect(server.seen.processed.count == 800)
                #expect(server.seen.duplicates.isEmpty)
            }
        }
    }

    @Test(
        "a setting that cannot work is refused with its name",
        arguments: [
            ("apns.url", { @Sendable (c: inout PushGatewayConfiguration) in c[.apns] = "http://localhost" }),
            ("fcm.url", { $0[.fcm] = "https://fcm.googleapis.com/v1" }),
            ("fcm.tokenUrl", { $0[.fcmToken] = "http://oauth2.googleapis.com/token" }),
            ("eventLoopThreads", { $0.eventLoopThreads = 0 }),
            ("maxInFlight", { $0.maxInFlight = 0 }),
            ("maxConnectionsPerHost", { $0.maxConnectionsPerHost = 0 }),
            ("deadline", { $0.deadline = .zero }),
            ("caFile", { $0.caFile = "/nowhere.pem" }),
        ] as [(String, @Sendable (inout PushGatewayConfiguration) -> Void)])
    func badSettings(name: String, change: @Sendable (inout PushGatewayConfiguration) -> Void) async throws {
        let error = await #expect(throws: PushGatewayError.self) {
            try await Rig.run("https://localhost", configure: change) { _ in }
        }
        #expect(error?.code == .configuration)
        #expect(error?.message.contains(name) == true)
    }
}
