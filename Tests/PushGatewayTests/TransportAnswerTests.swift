import ChallengeModel
import Foundation
import NIOCore
import NIOHPACK
import NIOHTTP2
import Synchronization
import Testing

@testable import PushGateway
@testable import PushProviders

/// Idle connections, and unusual answers.
extension TransportTests {
    @Test(
        "a connection without pushes is asked by PING, stays, and when it does not answer is replaced before the next push"
    )
    func idle() async throws {
        // A NAT forgets a silent connection after five minutes or so, and then drops what is sent on it.
        #expect(ConnectionPool.Settings().pingAfterIdle < .minutes(5))
        var tuning = GatewayTuning()
        tuning.pool.pingAfterIdle = .milliseconds(100)
        tuning.pool.pingDeadline = .seconds(3)
        try await ScriptedServer.run { server in
            try await Rig.run(server.url, tuning: tuning) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(await eventually { server.seen.pings >= 2 })
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 1)
                #expect(rig.gateway.statistics.sum(\.connectionsLost) == 0)
                try await server.mute()
                #expect(await eventually { rig.gateway.statistics.sum(\.connectionsLost) == 1 })
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 2)
            }
        }
    }

    @Test("103 before the answer is not the answer")
    func informational() async throws {
        var script = ScriptedServer.Script()
        script.react = { request in
            .blocks(
                [
                    [":status": "103", "link": "</style.css>"], [":status": "103"],
                    [":status": "410", "apns-id": request.id],
                ],
                body: #"{"reason":"Unregistered","timestamp":1900000000000}"#, trailers: [:])
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(20, inFlight: 5)
                #expect(answers.summary == ["tokenDead Unregistered": 20])
                #expect(answers.values.joined().allSatisfy { $0.status == 410 })
                #expect(server.seen.duplicates.isEmpty && server.seen.connections == 1)
            }
        }
    }

    @Test(
        "an answer that ends with trailers is one answer, with the body before them",
        arguments: ["", #"{"reason":"BadTopic"}"#])
    func trailers(body: String) async throws {
        var script = ScriptedServer.Script()
        script.react = { request in
            .blocks(
                [[":status": body.isEmpty ? "200" : "400", "apns-id": request.id]], body: body,
                trailers: ["x-checksum": "0", "grpc-status": "0"])
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(20, inFlight: 5)
                #expect(answers.summary == [body.isEmpty ? "accepted" : "rejected BadTopic": 20])
                #expect(server.seen.duplicates.isEmpty && server.seen.connections == 1)
                #expect(await eventually { rig.gateway.inFlight == 0 })
            }
        }
    }

    @Test(
        "20 and 100 KB of response headers, more than we announced, end at most the connection that they came on",
        arguments: [(20, 1), (20, 40), (100, 1), (100, 50)])
    func largeHeaders(kilobytes: Int, fields: Int) async throws {
        var script = ScriptedServer.Script()
        let value = String(repeating: "v", count: kilobytes * 1024 / fields)
        script.react = { request in
            guard request.number == 11, request.connection == 0 else { return .accept }
            var headers: HPACKHeaders = [":status": "200", "apns-id": request.id]
            for number in 0..<fields { headers.add(name: "x-\(number)", value: value) }
            return .blocks([headers], body: "x", trailers: ["x-end": "1"])
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(50, inFlight: 1)
                #expect(answers.count == 50 && answers.values.allSatisfy { $0.count == 1 })
                let accepted = answers.summary["accepted"] ?? 0
                #expect(accepted >= 49 && accepted + (answers.summary["unknown connection"] ?? 0) == 50)
                #expect(server.seen.connections == 1 + 50 - accepted)
                #expect(server.seen.duplicates.isEmpty)
            }
        }
    }

    @Test("answers that came while the loop stood still are answers, though their deadline passed meanwhile")
    func standstill() async throws {
        var script = ScriptedServer.Script()
        script.react = { .answer(status: 200, afterMs: $0.number == 2 ? 200 : 0) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(5) }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let answers: [PushAnswer] = await withCheckedContinuation { continuation in
                    let answers = Mutex<[PushAnswer]>([])
                    let start = ContinuousClock.now
                    @Sendable func note(_ answer: PushAnswer) {
                        let all = answers.withLock { answers in
                            answers.append(answer)
                            return answers
                        }
                        if all.count == 2 { continuation.resume(returning: all) }
                    }
                    // The later request is answered first: the other one has left by then.
                    rig.gateway.send(Rig.push(), completion: note)
                    rig.gateway.send(Rig.push()) { answer in
                        // On the event loop, which so does nothing else: until the deadline of the other has passed,
                        // and its answer is in our socket.
                        while ContinuousClock.now - start < .seconds(40),
                            ContinuousClock.now - start < .milliseconds(5500) || server.seen.answers < 3
                        { usleep(10_000) }
                        note(answer)
                    }
                }
                #expect(answers.map(\.disposition) == [.accepted, .accepted])
                #expect(rig.gateway.statistics.sum(\.timeouts) == 0)
                #expect(server.seen.connections == 1)
            }
        }
    }

    @Test("an endless response body is cut off")
    func bigBody() async throws {
        var script = ScriptedServer.Script()
        let body = String(repeating: "x", count: 60_000)
        script.react = { $0.number == 1 ? .accept : .answer(status: 500, body: body + body) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .deferred)
                #expect(answer.reason == "HTTP 500")
            }
        }
    }

    @Test("path, token and what differs per push are never indexed by HPACK")
    func neverIndexed() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                _ = await rig.volley(3, inFlight: 1)
                for request in server.seen.requests {
                    for header in request.headers {
                        let isNever = header.indexable == .neverIndexed
                        switch header.name {
                        case ":path", "authorization", "apns-id", "apns-expiration", "apns-collapse-id":
                            #expect(isNever, "\(header.name)")
                        default: #expect(!isNever, "\(header.name)")
                        }
                    }
                }
            }
        }
    }
}
