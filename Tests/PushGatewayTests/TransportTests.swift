import ChallengeModel
import Foundation
import NIOCore
import NIOHTTP2
import Synchronization
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("the transport, against a TLS HTTP/2 peer", .serialized, .timeLimit(.minutes(5)))
struct TransportTests {
    @Test("every push is answered once, over one connection, with the provider's id and the time its headers left")
    func plain() async throws {
        try await ScriptedServer.run { server in
            try await Rig.run(server.url) { rig in
                let before = Rig.nowMs()
                let answers = await rig.volley(500, inFlight: 100)
                #expect(answers.summary == ["accepted": 500])
                #expect(answers.allSatisfy { $0.value.count == 1 && $0.value[0].providerMessageID == $0.key })
                #expect(answers.values.joined().allSatisfy { $0.sentAtMs >= before && $0.sentAtMs <= Rig.nowMs() })
                #expect(answers.values.joined().allSatisfy { $0.status == 200 && $0.retryAtMs == 0 })
                #expect(Set(server.seen.processed.keys) == Set(answers.keys))
                #expect(server.seen.duplicates.isEmpty)
                #expect(server.seen.connections == 1)
                #expect(rig.gateway.inFlight == 0)
            }
        }
    }

    @Test(
        "GOAWAY every few streams loses nothing, duplicates nothing, and the caller sees nothing",
        arguments: [(50, 100, false), (50, 100, true), (500, 100, false), (500, 900, false), (500, 900, true)])
    func goaway(every: Int, inFlight: Int, warns: Bool) async throws {
        let count = every * 6
        var script = ScriptedServer.Script()
        script.goawayEvery = every
        script.warnsBeforeGoaway = warns
        script.react = { _ in .answer(status: 200, afterMs: 2) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(120) }) { rig in
                let answers = await rig.volley(count, inFlight: inFlight)
                #expect(answers.summary == ["accepted": count])
                let seen = server.seen
                #expect(answers.keys.filter { seen.processed[$0] == nil }.isEmpty, "lost")
                #expect(seen.duplicates.isEmpty)
                #expect(seen.processed.count == count)
                #expect(seen.connections >= 6)
                #expect(rig.gateway.statistics.sum(\.goaways) >= 5)
                #expect(rig.gateway.statistics.sum(\.connectionsLost) == 0)
                if inFlight > every { #expect(rig.gateway.statistics.sum(\.resends) > 0) }
            }
        }
    }

    @Test("a peer that allows one stream at a time gets one at a time")
    func oneStream() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 1
        script.react = { _ in .answer(status: 200, afterMs: 1) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 3 }) { rig in
                let answers = await rig.volley(120, inFlight: 40)
                #expect(answers.summary == ["accepted": 120])
                #expect(server.seen.mostStreams == 1)
                #expect(server.seen.connections > 1, "more connections where streams are few")
                #expect(server.seen.connections <= 3)
                #expect(rig.gateway.statistics.sum(\.resends) == 0)
            }
        }
    }

    @Test("the first stream of an APNs connection goes alone until it is answered")
    func firstAlone() async throws {
        let arrivals = Mutex<[ContinuousClock.Instant]>([])
        var script = ScriptedServer.Script()
        script.early = { _ in
            arrivals.withLock { $0.append(.now) }
            return nil
        }
        script.react = { .answer(status: 200, afterMs: $0.number == 1 ? 150 : 0) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.volley(50, inFlight: 50).summary == ["accepted": 50])
                let times = arrivals.withLock { $0 }
                #expect(times[1] - times[0] >= .milliseconds(140))
                #expect(server.seen.connections == 1)
            }
        }
    }

    @Test("bodies pass through windows of a few bytes, whole")
    func tinyWindows() async throws {
        var script = ScriptedServer.Script()
        script.initialWindow = 100
        script.windowStep = 100
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(60, inFlight: 30)
                #expect(answers.summary == ["accepted": 60])
                #expect(server.seen.requests.count == 60)
                for request in server.seen.requests {
                    #expect((try? JSONSerialization.jsonObject(with: Data(request.body))) != nil)
                }
            }
        }
    }

    @Test("a peer that answers before it has read the body is a peer like any other, and its slots come back")
    func answersEarly() async throws {
        var script = ScriptedServer.Script()
        script.initialWindow = 0
        script.maxConcurrentStreams = 10
        script.early = { _ in .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                let answers = await rig.volley(100, inFlight: 50)
                #expect(answers.summary == ["accepted": 100])
                #expect(server.seen.connections == 1)
                #expect(server.seen.duplicates.isEmpty)
            }
        }
    }

    @Test("REFUSED_STREAM is sent once more, with the same id")
    func refusedOnce() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.number == 3 ? .reset(.refusedStream) : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                let answers = await rig.volley(10, inFlight: 1)
                #expect(answers.summary == ["accepted": 10])
                #expect(server.seen.requests.count == 11)
                #expect(server.seen.processed.values.allSatisfy { $0 == 1 })
            }
        }
    }

    @Test("REFUSED_STREAM twice is deferred: the peer never took it")
    func refusedTwice() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .reset(.refusedStream) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let before = Rig.nowMs()
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .deferred)
                #expect(answer.reason == "connection")
                #expect(answer.retryAtMs >= before + 1000)
                #expect(answer.sentAtMs == 0)
                #expect(server.seen.requests.count == 2)
            }
        }
    }

    @Test("a peer that allows no streams has taken nothing: deferred, never unknown", arguments: [Platform.apn, .fcm])
    func noStreams(platform: Platform) async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 0
        try await ScriptedServer.run(ProviderTests.fcmScript()) { endpoint in
            try await ScriptedServer.run(script) { server in
                let configure: (inout PushGatewayConfiguration) -> Void = {
                    $0[.fcmToken] = endpoint.url + "/token"
                    $0.deadline = .seconds(2)
                }
                try await Rig.run(server.url, configure: configure) { rig in
                    let answers = await rig.volley(3, inFlight: 3) { _ in Rig.push(platform) }
                    #expect(answers.summary == ["deferred connection": 3])
                    #expect(answers.values.joined().allSatisfy { $0.sentAtMs == 0 && $0.status == 0 })
                    #expect(server.seen.requests.isEmpty && server.seen.connections >= 1)
                }
            }
        }
    }

    @Test("any other reset leaves the answer unknown, and is not sent again")
    func reset() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.number == 2 ? .reset(.internalError) : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                let answers = await rig.volley(5, inFlight: 1)
                #expect(answers.summary == ["accepted": 4, "unknown reset": 1])
                #expect(server.seen.requests.count == 5)
                #expect(server.seen.connections == 1)
            }
        }
    }

    @Test("a connection cut in mid-stream leaves the sent ones unknown and loses none")
    func cut() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.connection == 0 && $0.number == 40 ? .cut : .answer(status: 200, afterMs: 5) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                let answers = await rig.volley(200, inFlight: 20)
                let summary = answers.summary
                #expect(answers.count == 200)
                #expect((1...20).contains(summary["unknown connection"] ?? 0))
                #expect((summary["accepted"] ?? 0) + (summary["unknown connection"] ?? 0) == 200)
                #expect(server.seen.duplicates.isEmpty)
                #expect(server.seen.connections == 2)
                #expect(rig.gateway.statistics.sum(\.connectionsLost) == 1)
            }
        }
    }

    @Test("streams that are never answered time out, and their slots come back")
    func stall() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 4
        script.react = { $0.path.hasSuffix("dead") ? .stall : .accept }
        try await ScriptedServer.run(script) { server in
            let configure: (inout PushGatewayConfiguration) -> Void = {
                $0.deadline = .seconds(4)
                $0.maxConnectionsPerHost = 1
            }
            try await Rig.run(server.url, configure: configure) { rig in
                let answers = await rig.volley(400, inFlight: 4) { number in
                    var push = Rig.push()
                    if number % 100 == 50 { push.pushToken = "dead" }
                    return push
                }
                #expect(answers.summary == ["accepted": 396, "unknown timeout": 4])
                #expect(answers.values.joined().filter { $0.reason == "timeout" }.allSatisfy { $0.sentAtMs > 0 })
                #expect(await eventually { server.seen.resetsFromClient == 4 })
                #expect(server.seen.connections == 1)
            }
        }
    }

    @Test("a connection whose streams time out in a row is given up for another")
    func timeoutsInARow() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.connection == 0 && $0.number > 1 ? .stall : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(4) }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let lost = await rig.volley(5, inFlight: 5)
                #expect(lost.summary == ["unknown timeout": 5])
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 2)
                #expect(await eventually { server.seen.openConnections == 1 })
            }
        }
    }

    @Test("a connection given up while streams are open closes when these time out too")
    func lateTimeouts() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.connection == 0 && $0.number > 1 ? .stall : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(4) }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                async let first = rig.volley(5, inFlight: 5)
                #expect(await eventually { server.seen.requests.count == 6 })
                // So much later are the deadlines of the others: ticks are 25 ms apart.
                try await Task.sleep(for: .milliseconds(300))
                let late = await rig.volley(3, inFlight: 3)
                #expect(await first.summary == ["unknown timeout": 5])
                #expect(late.summary == ["unknown timeout": 3])
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 2)
                #expect(await eventually { server.seen.openConnections == 1 })
            }
        }
    }

    @Test("a first stream that is never answered holds up nothing for long: another connection is opened beside it")
    func firstStreamUnanswered() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.connection == 0 ? .stall : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(4) }) { rig in
                async let first = rig.send(Rig.push())
                #expect(await eventually { server.seen.requests.count == 1 })
                #expect(await rig.volley(50, inFlight: 50).summary == ["accepted": 50])
                #expect(server.seen.connections == 2)
                #expect(await first.reason == "timeout")
            }
        }
    }

    @Test(
        "what waits for a stream leaves only while it may: a permit that ended, or a time that has come, keeps it here")
    func withdrawn() async throws {
        var script = ScriptedServer.Script()
        script.maxConcurrentStreams = 1
        script.react = { .answer(status: 200, afterMs: $0.number == 2 ? 3000 : 0) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.maxConnectionsPerHost = 1 }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let permit = Permit()
                var (free, allowed, timed) = (Rig.push(), Rig.push(), Rig.push())
                free.permit = permit
                allowed.permit = Permit()
                timed.leaveByMs = Rig.nowMs() + 700
                let pushes = [Rig.push(), free, allowed, timed]
                let answers = try await withThrowingTaskGroup(of: (Int, PushAnswer).self) { group in
                    group.addTask { (0, await rig.send(pushes[0])) }
                    #expect(await eventually { server.seen.requests.count == 2 })
                    for index in 1...3 { group.addTask { (index, await rig.send(pushes[index])) } }
                    #expect(await eventually { rig.gateway.inFlight == 4 })
                    permit.end()
                    return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
                }
                #expect(answers[0]?.disposition == .accepted)
                #expect(answers[1]?.disposition == .deferred && answers[1]?.reason == "withdrawn")
                #expect(answers[2]?.disposition == .accepted)
                #expect(answers[3]?.disposition == .deferred && answers[3]?.reason == "withdrawn")
                #expect(server.seen.requests.count == 3)
            }
        }
    }

    private final class Permit: PushPermit {
        private let ended = Atomic(false)
        var isValid: Bool { !ended.load(ordering: .acquiring) }
        func end() { ended.store(true, ordering: .releasing) }
    }

    @Test("a connection that falls silent is found by PING and closed; the next push takes another")
    func silence() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.connection == 0 && $0.number == 2 ? .mute : .accept }
        var tuning = GatewayTuning()
        tuning.pool.pingAfterSilence = .milliseconds(100)
        tuning.pool.pingDeadline = .milliseconds(200)
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, tuning: tuning, configure: { $0.deadline = .seconds(3600) }) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                let answer = await rig.send(Rig.push())
                #expect(answer.disposition == .unknown)
                #expect(answer.reason == "connection")
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.connections == 2)
            }
        }
    }

    @Test("a slow answer is not mistaken for silence: the PING is answered")
    func slowIsNotSilent() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 200, afterMs: 3000) }
        var tuning = GatewayTuning()
        tuning.pool.pingAfterSilence = .milliseconds(100)
        tuning.pool.pingDeadline = .seconds(2)
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, tuning: tuning) { rig in
                #expect(await rig.send(Rig.push()).disposition == .accepted)
                #expect(server.seen.pings >= 1)
                #expect(server.seen.connections == 1)
            }
        }
    }

}
