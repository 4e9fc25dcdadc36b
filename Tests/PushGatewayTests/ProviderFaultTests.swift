import ChallengeModel
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import PushGateway
@testable import PushProviders

/// What APNs and FCM do on bad days, at the latencies of real ones.
@Suite("providers on a bad day", .serialized, .timeLimit(.minutes(10)))
struct ProviderFaultTests {
    /// 20,000 with BECKON_TEST_LONG; the bounds are the same.
    static let isLong = ProcessInfo.processInfo.environment["BECKON_TEST_LONG"] != nil
    /// What hangs costs as much; whatever answers has longer than a busy machine needs.
    static let deadline: Duration = Speed.isMeasured ? .seconds(2) : .seconds(8)

    @Test(
        "GOAWAY every 500 streams at 60 to 80 ms: nothing lost, nothing sent twice, no error", arguments: [100, 900])
    func goaway(inFlight: Int) async throws {
        let count = Self.isLong ? 20_000 : 2000
        var script = ScriptedServer.Script()
        script.goawayEvery = 500
        script.react = { _ in .answer(status: 200, afterMs: .random(in: 60...80)) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(120) }) { rig in
                let answers = await rig.volley(count, inFlight: inFlight)
                #expect(answers.summary == ["accepted": count])
                #expect(Set(server.seen.processed.keys) == Set(answers.keys), "lost")
                #expect(server.seen.duplicates.isEmpty)
                #expect(rig.gateway.statistics.sum(\.goaways) >= count / 500 - 1)
                #expect(rig.gateway.statistics.sum(\.timeouts) == 0)
            }
        }
    }

    @Test("GOAWAY with half-sent bodies, because the window is widened late: streams below its id still end")
    func goawayLateWindow() async throws {
        var script = ScriptedServer.Script()
        script.goawayEvery = 300
        script.connectionWindowAfterMs = 20
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = .seconds(120) }) { rig in
                let answers = await rig.volley(1800, inFlight: 900)
                #expect(answers.summary == ["accepted": 1800])
                #expect(server.seen.duplicates.isEmpty)
                #expect(rig.gateway.statistics.sum(\.timeouts) == 0)
            }
        }
    }

    @Test("one stream in a hundred is never answered: the others are, as fast as without, and the slots come back")
    func silentShare() async throws {
        let isSick = Atomic(false)
        var script = ScriptedServer.Script()
        script.react = { request in
            isSick.load(ordering: .relaxed) && request.path.hasSuffix("dead")
                ? .stall : .answer(status: 200, afterMs: 20)
        }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, configure: { $0.deadline = Self.deadline }) { rig in
                let make: @Sendable (Int) -> Push = { number in
                    var push = Rig.push()
                    if number % 100 == 7 { push.pushToken = "dead" }
                    return push
                }
                _ = await rig.timed(200, inFlight: 50, make)
                let count = Self.isLong ? 20_000 : 1500
                let p99s = await Speed.best { round in
                    isSick.store(false, ordering: .relaxed)
                    // The last of a round time out alone, which may open the circuit.
                    while await rig.send(Rig.push()).disposition != .accepted {
                        try? await Task.sleep(for: .milliseconds(50))
                    }
                    let well = await rig.timed(count, inFlight: 50, make)
                    isSick.store(true, ordering: .relaxed)
                    let sick = await rig.timed(count, inFlight: 50, make)
                    #expect(well.answers == ["accepted": count])
                    #expect(sick.answers == ["accepted": count - count / 100, "unknown timeout": count / 100])
                    #expect(await eventually { server.seen.resetsFromClient == (round + 1) * count / 100 })
                    return (well: well.p99Ms, sick: sick.p99Ms)
                } until: {
                    $0.sick <= $0.well * 1.5 + 20
                }
                Speed.expect(
                    "one-silent-stream-in-a-hundred", ["well_p99_ms": p99s.well, "sick_p99_ms": p99s.sick],
                    p99s.sick <= p99s.well * 1.5 + 20)
                #expect(await eventually { rig.gateway.inFlight == 0 })
                #expect(rig.gateway.statistics.sum(\.connectionsLost) == 0)
            }
        }
    }

    @Test("a window of 65,535 bytes that is widened late: no stall, no leaked stream")
    func lateWindow() async throws {
        var script = ScriptedServer.Script()
        script.initialWindow = 65_535
        script.connectionWindowAfterMs = 30
        try await ScriptedServer.run(script) { server in
            try await Rig.run(
                server.url,
                configure: {
                    $0.maxConnectionsPerHost = 1; $0.deadline = .seconds(120)
                }
            ) { rig in
                let count = Self.isLong ? 20_000 : 1200
                let start = ContinuousClock.now
                let answers = await rig.volley(count, inFlight: 300)
                let seconds = (ContinuousClock.now - start) / .seconds(1)
                #expect(answers.summary == ["accepted": count])
                #expect(server.seen.duplicates.isEmpty)
                #expect(server.seen.resetsFromClient == 0)
                #expect(server.seen.connections == 1)
                let bytes = server.seen.requests.reduce(0) { $0 + $1.body.count }
                // Each window's worth takes at least the wait, and not much more.
                let waits = Double(bytes / 65_535 + 1) * 0.03
                Speed.expect("late-window", ["seconds": seconds, "waits_seconds": waits], seconds < waits * 4 + 20)
                #expect(await eventually { rig.gateway.inFlight == 0 })
            }
        }
    }

    @Test("503 for a while: probes and no more are requests, and everything flows again when it is over")
    func outage() async throws {
        let isOut = Atomic(false)
        var script = ScriptedServer.Script()
        script.react = { _ in
            isOut.load(ordering: .relaxed) ? .answer(status: 503, body: #"{"reason":"ServiceUnavailable"}"#) : .accept
        }
        var tuning = GatewayTuning()
        tuning.breaker.shortestMs = 200
        tuning.breaker.longestMs = 400
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url, tuning: tuning) { rig in
                var asked = 0
                /// Twenty pushes; how many of them became requests, and how many were accepted.
                func step() async throws -> (seen: Int, accepted: Int) {
                    try await Task.sleep(for: .milliseconds(100))
                    let before = server.seen.requests.count
                    let answers = await rig.volley(20, inFlight: 20)
                    #expect(answers.count == 20 && answers.values.allSatisfy { $0.count == 1 })
                    asked += 20
                    let seen = server.seen.requests.count - before
                    #expect(seen <= 20, "more requests than pushes")
                    return (seen, answers.summary["accepted"] ?? 0)
                }
                for _ in 0..<5 { #expect(try await step() == (20, 20)) }
                isOut.store(true, ordering: .relaxed)
                // What fails together counts once: the circuit opens after some steps.
                var steps = 0
                while rig.gateway.statistics.openCircuits == 0, steps < 100 {
                    _ = try await step()
                    steps += 1
                }
                #expect(rig.gateway.statistics.openCircuits == 1)
                let opened = ContinuousClock.now
                var during = 0
                for _ in 0..<8 { during += try await step().seen }
                let most = Int((ContinuousClock.now - opened) / .milliseconds(100)) + 2
                #expect(during <= most, "the circuit lets probes through, and no more: \(during) of 160")
                isOut.store(false, ordering: .relaxed)
                steps = 0
                while try await step().accepted < 20, steps < 100 { steps += 1 }
                for _ in 0..<5 { #expect(try await step() == (20, 20), "and everything flows again") }
                #expect(server.seen.requests.count <= asked)
                #expect(server.seen.duplicates.isEmpty)
            }
        }
    }

    @Test("APNs hangs: FCM is served as before, what has expired costs nothing, and APNs is used again when it is well")
    func hanging() async throws {
        let isHanging = Atomic(false)
        var apns = ScriptedServer.Script()
        apns.react = { _ in isHanging.load(ordering: .relaxed) ? .stall : .answer(status: 200, afterMs: 10) }
        var fcm = ScriptedServer.Script()
        fcm.react = { request in
            request.path == "/token"
                ? .answer(status: 200, body: #"{"access_token":"t","expires_in":3600}"#)
                : .answer(status: 200, body: #"{"name":"projects/p/messages/1"}"#, afterMs: 10)
        }
        try await ScriptedServer.run(apns) { sick in
            try await ScriptedServer.run(fcm) { well in
                try await Rig.run(sick.url, fcmURL: well.url, configure: { $0.deadline = Self.deadline }) { rig in
                    _ = await rig.timed(100, inFlight: 20) { _ in Rig.push(.fcm) }
                    _ = await rig.timed(20, inFlight: 20) { _ in Rig.push() }
                    let p99s = await Speed.best { _ in
                        isHanging.store(false, ordering: .relaxed)
                        let before = await rig.timed(800, inFlight: 20) { _ in Rig.push(.fcm) }
                        isHanging.store(true, ordering: .relaxed)
                        async let stuck = rig.timed(300, inFlight: 200) { _ in Rig.push() }
                        let during = await rig.timed(800, inFlight: 20) { _ in Rig.push(.fcm) }
                        #expect(before.answers == ["accepted": 800] && during.answers == ["accepted": 800])
                        #expect(await stuck.answers["accepted"] == nil)
                        return (well: before.p99Ms, sick: during.p99Ms)
                    } until: {
                        $0.sick <= $0.well * 1.5 + 15
                    }
                    Speed.expect(
                        "fcm-beside-hanging-apns", ["without_p99_ms": p99s.well, "beside_p99_ms": p99s.sick],
                        p99s.sick <= p99s.well * 1.5 + 15)
                    // What has expired costs no request, however many come.
                    let requests = sick.seen.processed.count
                    let expired = await rig.volley(50, inFlight: 50) { _ in Rig.push(lifeMs: 0) }.summary
                    #expect(expired == ["dropped expired": 50], "\(expired)")
                    #expect(sick.seen.processed.count == requests)
                    isHanging.store(false, ordering: .relaxed)
                    let recovered = ContinuousClock.now
                    while await rig.send(Rig.push()).disposition != .accepted {
                        try await Task.sleep(for: .milliseconds(50))
                    }
                    let seconds = (ContinuousClock.now - recovered) / .seconds(1)
                    Speed.expect("apns-used-again", ["seconds": seconds], seconds < 20)
                    #expect(await rig.timed(100, inFlight: 20) { _ in Rig.push() }.answers == ["accepted": 100])
                }
            }
        }
    }

    @Test(
        "a credential that is answered once in a hundred times and hangs else: its window is bounded, and FCM is served as before"
    )
    func halfSick() async throws {
        var apns = ScriptedServer.Script()
        apns.maxConcurrentStreams = 4000
        apns.react = { $0.number % 100 == 1 ? .answer(status: 200, afterMs: 10) : .stall }
        var fcm = ScriptedServer.Script()
        fcm.react = { request in
            request.path == "/token"
                ? .answer(status: 200, body: #"{"access_token":"t","expires_in":3600}"#)
                : .answer(status: 200, body: #"{"name":"projects/p/messages/1"}"#, afterMs: 10)
        }
        try await ScriptedServer.run(apns) { sick in
            try await ScriptedServer.run(fcm) { well in
                try await Rig.run(sick.url, fcmURL: well.url, configure: { $0.maxInFlight = 400 }) { rig in
                    _ = await rig.timed(100, inFlight: 20) { _ in Rig.push(.fcm) }
                    let before = await rig.timed(800, inFlight: 20) { _ in Rig.push(.fcm) }
                    let answers = Mutex<[String: Int]>([:])
                    var mostOutstanding = 0
                    // As a dispatcher hands over: 1,000 a second for five seconds, none while it should wait. On a busy
                    // machine for as long as it takes until it is known what hangs.
                    var (turns, waited) = (0, 0)
                    func isKnown() -> Bool {
                        answers.withLock { $0["deferred stalled"] ?? 0 } > 500
                            && (rig.gateway.statistics.inFlightLimits[.apn] ?? 0) <= 150 && !rig.gateway.isFull
                    }
                    while turns < 500 || !isKnown(), turns < 10_000 {
                        turns += 1
                        try await Task.sleep(for: .milliseconds(10))
                        if rig.gateway.isFull {
                            waited += 1
                            continue
                        }
                        for _ in 0..<10 {
                            rig.gateway.send(Rig.push()) { answer in
                                answers.withLock { $0["\(answer.disposition) \(answer.reason)", default: 0] += 1 }
                            }
                        }
                        mostOutstanding = max(mostOutstanding, rig.gateway.inFlight)
                    }
                    #expect(mostOutstanding <= 310, "three quarters of 400, and what came in one go")
                    Speed.expect(
                        "handing-over-beside-a-hanging-credential",
                        ["turns": Double(turns), "waited": Double(waited)], waited * 2 < turns)
                    #expect((rig.gateway.statistics.inFlightLimits[.apn] ?? 0) <= 150)
                    #expect(rig.gateway.statistics.inFlightLimits[.fcm] == 300)
                    #expect(answers.withLock { $0["deferred stalled"] ?? 0 } > 500)
                    #expect(!rig.gateway.isFull)
                    let during = await rig.timed(800, inFlight: 20) { _ in Rig.push(.fcm) }
                    #expect(during.answers == ["accepted": 800])
                    Speed.expect(
                        "fcm-beside-half-sick-apns", ["before_p99_ms": before.p99Ms, "beside_p99_ms": during.p99Ms],
                        during.p99Ms <= before.p99Ms * 1.5 + 15)
                }
            }
        }
    }

    static let badToken = #"{"reason":"BadDeviceToken"}"#

    @Test("every token is refused, as with a wrong environment: rejected, and no token dies of it")
    func allTokensBad() async throws {
        var script = ScriptedServer.Script()
        script.react = { _ in .answer(status: 400, body: Self.badToken) }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                #expect(await rig.volley(200, inFlight: 20).summary == ["rejected BadDeviceToken": 200])
            }
        }
    }

    @Test("a token that is called bad between others that are taken is rejected every time, and none dies of it")
    func oneTokenBad() async throws {
        var script = ScriptedServer.Script()
        script.react = { $0.path.hasSuffix("dead") ? .answer(status: 400, body: Self.badToken) : .accept }
        try await ScriptedServer.run(script) { server in
            try await Rig.run(server.url) { rig in
                var bad = Rig.push()
                bad.pushToken = "dead"
                for _ in 0..<3 {
                    #expect(await rig.send(Rig.push()).disposition == .accepted)
                    #expect(await rig.send(bad).disposition == .rejected)
                }
                let answers = await rig.volley(20, inFlight: 5) { _ in
                    var push = Rig.push()
                    push.pushToken = "dead"
                    return push
                }
                #expect(answers.summary == ["rejected BadDeviceToken": 20])
            }
        }
    }
}

extension Rig {
    struct Timed: Sendable {
        /// How many of each disposition and reason.
        var answers: [String: Int] = [:]
        /// From hand-over to answer, of those that were accepted.
        var p99Ms = 0.0
    }

    private final class Tally: Sendable {
        let next = Atomic(0)
        let found = Mutex<(answers: [String: Int], times: [Double])>(([:], []))
    }

    func timed(_ count: Int, inFlight: Int, _ make: @escaping @Sendable (Int) -> Push) async -> Timed {
        let tally = Tally()
        let rig = self
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<inFlight {
                group.addTask { @Sendable in
                    while case let number = tally.next.add(1, ordering: .relaxed).oldValue, number < count {
                        let start = ContinuousClock.now
                        let answer = await rig.send(make(number))
                        let ms = (ContinuousClock.now - start) / .milliseconds(1)
                        let name = "\(answer.disposition)" + (answer.reason.isEmpty ? "" : " \(answer.reason)")
                        tally.found.withLock {
                            $0.answers[name, default: 0] += 1
                            if answer.disposition == .accepted { $0.times.append(ms) }
                        }
                    }
                }
            }
        }
        return tally.found.withLock { found in
            let sorted = found.times.sorted()
            return Timed(answers: found.answers, p99Ms: sorted.isEmpty ? 0 : sorted[sorted.count * 99 / 100])
        }
    }
}
