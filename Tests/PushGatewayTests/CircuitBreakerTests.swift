import NIOCore
import Testing

@testable import PushGateway

@Suite("the circuit breaker, the reconnect back-off and the access token's state")
struct CircuitBreakerTests {
    private static let late: Int64 = 86_400_000
    private static let failure = CircuitBreaker.Event.failure(retryAfterMs: 0)

    private func opened(at nowMs: Int64 = 0) -> CircuitBreaker {
        var breaker = CircuitBreaker()
        for number in 0..<10 { breaker.record(Self.failure, wasProbe: false, nowMs: nowMs - 900 + Int64(number) * 100) }
        return breaker
    }

    @Test("ten failures in a row open it, nine do not, and a success in between starts anew")
    func opens() {
        #expect(opened().state == .open(untilMs: 2000))
        var breaker = CircuitBreaker()
        for number in 0..<50 {
            breaker.record(number % 10 == 9 ? .success : Self.failure, wasProbe: false, nowMs: Int64(number) * 100)
        }
        #expect(breaker.state == .closed)
    }

    @Test("a lost connection fails hundreds at once and counts as one")
    func burst() {
        var breaker = CircuitBreaker()
        for _ in 0..<500 { breaker.record(Self.failure, wasProbe: false, nowMs: 1000) }
        #expect(breaker.state == .closed)
    }

    @Test("one probe goes when the time has come; its success closes, its failure opens for twice as long")
    func probe() {
        var breaker = opened()
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 1999) == .stayAway(untilMs: 2000))
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 2000) == .probe)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 2001) == .stayAway(untilMs: 3001))
        var other = breaker
        let hasChanged = breaker.record(.success, wasProbe: true, nowMs: 2100)
        #expect(hasChanged)
        #expect(breaker.state == .closed)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 2101) == .send)
        other.record(Self.failure, wasProbe: true, nowMs: 2100)
        #expect(other.state == .open(untilMs: 2100 + 4000))
    }

    @Test("answers to what was sent before it opened change nothing")
    func lateAnswers() {
        var breaker = opened()
        breaker.record(.success, wasProbe: false, nowMs: 100)
        #expect(breaker.state == .open(untilMs: 2000))
        for _ in 0..<20 { breaker.record(Self.failure, wasProbe: false, nowMs: 150) }
        #expect(breaker.state == .open(untilMs: 2000))
    }

    @Test("a probe that expired before it was sent lets another go")
    func neutralProbe() {
        var breaker = opened()
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 3000) == .probe)
        breaker.record(.neutral, wasProbe: true, nowMs: 3010)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 3011) == .probe)
    }

    @Test("a lost probe does not keep it open for ever")
    func lostProbe() {
        var breaker = opened()
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 3000) == .probe)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 8000) == .probe)
    }

    @Test("the time doubles up to six seconds and starts anew after a success")
    func doubling() {
        var breaker = opened()
        var now: Int64 = 0
        for expected: Int64 in [4000, 6000, 6000, 6000] {
            guard case .open(let until) = breaker.state else { return #expect(Bool(false)) }
            now = until
            #expect(breaker.admit(expiresAtMs: Self.late, nowMs: now) == .probe)
            breaker.record(Self.failure, wasProbe: true, nowMs: now)
            #expect(breaker.state == .open(untilMs: now + expected))
        }
        _ = breaker.admit(expiresAtMs: Self.late, nowMs: now + 6000)
        breaker.record(.success, wasProbe: true, nowMs: now + 6001)
        for number in Int64(0)..<10 {
            breaker.record(Self.failure, wasProbe: false, nowMs: now + 70_000 + number * 100)
        }
        #expect(breaker.state == .open(untilMs: now + 70_900 + 2000))
    }

    /// Five seconds at 200 a second, the last of them failing: open until 6995.
    private func busy() -> CircuitBreaker {
        var breaker = CircuitBreaker()
        for number in Int64(0)..<1000 { _ = breaker.admit(expiresAtMs: Self.late, nowMs: number * 5) }
        for number in Int64(0)..<10 { breaker.record(Self.failure, wasProbe: false, nowMs: 4095 + number * 100) }
        return breaker
    }

    @Test("what is kept back comes again one after the other, half as fast as pushes came before")
    func returns() {
        var breaker = busy()
        #expect(breaker.state == .open(untilMs: 6995))
        let times = (Int64(0)..<1000).compactMap { number -> Int64? in
            guard case .stayAway(let untilMs) = breaker.admit(expiresAtMs: Self.late, nowMs: 5000 + number) else {
                return nil
            }
            return untilMs
        }
        #expect(times.count == 1000 && times.first == 6995 && times == times.sorted())
        #expect((6995 + 9800...6995 + 10_200).contains(times.last ?? 0))
        // There is one row, also when it opens again.
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 6995) == .probe)
        breaker.record(Self.failure, wasProbe: true, nowMs: 7100)
        guard case .stayAway(let next) = breaker.admit(expiresAtMs: Self.late, nowMs: 7101) else {
            return #expect(Bool(false))
        }
        #expect((9...11).contains(next - (times.last ?? 0)))
    }

    @Test("whose turn would come in the last quarter of its life gets none, and takes none from others")
    func tooLate() {
        var breaker = busy()
        let times = (0..<5000).compactMap { _ -> Int64? in
            guard case .stayAway(let untilMs) = breaker.admit(expiresAtMs: 26_000, nowMs: 5000) else { return nil }
            return untilMs
        }
        // From 6,995 on one every 10 ms, up to three quarters of the 21 s.
        let inTime = times.prefix { $0 < 26_000 }
        #expect((1360...1380).contains(inTime.count))
        #expect(inTime.first == 6995 && (20_730...20_750).contains(inTime.last ?? 0))
        #expect(times.dropFirst(inTime.count).allSatisfy { $0 == 26_000 })
        guard case .stayAway(let next) = breaker.admit(expiresAtMs: Self.late, nowMs: 5000) else {
            return #expect(Bool(false))
        }
        #expect((1...11).contains(next - (inTime.last ?? 0)))
    }

    /// A minute of 503 at 40 a second, three minutes after it, by the millisecond: what is kept back comes again at its time.
    @Test(
        "after an outage half as many again are sent as usual, never more, and nearly all that live long enough",
        arguments: [20, 60, 300])
    func recovery(lifeS: Int64) {
        var breaker = CircuitBreaker()
        var turns: [Int64: [Int64]] = [:]
        for number in Int64(0)..<(240 * 40) { turns[number * 25, default: []].append(number * 25) }
        var sent: [Int64: Int] = [:]
        var late = 0
        var (told, returned) = (0, 0)
        for nowMs in Int64(0)..<240_000 {
            let isSick = (20_000..<80_000).contains(nowMs)
            for born in turns.removeValue(forKey: nowMs) ?? [] {
                let expiresAtMs = born + lifeS * 1000
                let admission = breaker.admit(expiresAtMs: expiresAtMs, nowMs: nowMs)
                if case .stayAway(let untilMs) = admission {
                    if untilMs == expiresAtMs { told += 1 } else { turns[untilMs, default: []].append(born) }
                    continue
                }
                sent[nowMs / 1000, default: 0] += 1
                late += nowMs > expiresAtMs - lifeS * 100 ? 1 : 0
                if isSick {
                    breaker.record(Self.failure, wasProbe: admission == .probe, nowMs: nowMs)
                    turns[nowMs + 10_000, default: []].append(born)
                } else {
                    breaker.record(.success, wasProbe: admission == .probe, nowMs: nowMs)
                    returned += nowMs - born > 0 ? 1 : 0
                }
            }
        }
        let during = (21..<80).map { sent[$0, default: 0] }
        let after = (80..<240).map { sent[$0, default: 0] }
        #expect(during.allSatisfy { $0 <= 40 } && during.reduce(0, +) < 60, "\(during)")
        #expect(after.allSatisfy { $0 <= 62 }, "\(after)")
        #expect(after.suffix(30).allSatisfy { $0 <= 41 })
        #expect(late == 0)
        // Each of the 2,400 came again or was told that it will not.
        #expect(
            returned + told >= 2350 && returned >= [20: 250, 60: 800, 300: 2350][lifeS] ?? 0, "\(returned) \(told)")
    }

    @Test("credential faults, which somebody has to mend, are asked about once a minute in the end")
    func lastingFaults() {
        var breaker = CircuitBreaker()
        for _ in 0..<5 { breaker.record(.credentialFault, wasProbe: false, nowMs: 0) }
        var now: Int64 = 0
        for expected: Int64 in [4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            guard case .open(let until) = breaker.state else { return #expect(Bool(false)) }
            now = until
            #expect(breaker.admit(expiresAtMs: Self.late, nowMs: now) == .probe)
            breaker.record(.credentialFault, wasProbe: true, nowMs: now)
            #expect(breaker.state == .open(untilMs: now + expected))
        }
    }

    @Test("a provider that says how long to stay away is left alone that long, from the first answer")
    func pause() {
        var breaker = CircuitBreaker()
        let hasOpened = breaker.record(.pause(ms: 60_000), wasProbe: false, nowMs: 1000)
        #expect(hasOpened)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 60_999) == .stayAway(untilMs: 61_000))
        breaker.record(.pause(ms: 1000), wasProbe: false, nowMs: 2000)
        #expect(breaker.admit(expiresAtMs: Self.late, nowMs: 61_000) == .probe)
    }

    @Test("five credential faults in a row open it, a success in between starts anew")
    func faults() {
        var breaker = CircuitBreaker()
        for _ in 0..<4 { breaker.record(.credentialFault, wasProbe: false, nowMs: 0) }
        breaker.record(.success, wasProbe: false, nowMs: 0)
        for _ in 0..<4 { breaker.record(.credentialFault, wasProbe: false, nowMs: 0) }
        #expect(breaker.state == .closed)
        breaker.record(.credentialFault, wasProbe: false, nowMs: 0)
        #expect(breaker.state == .open(untilMs: 2000))
    }

    @Test("reconnecting waits 50 to 100 ms, then twice that, up to 5 s, and not at all after a success")
    func backoff() {
        var backoff = ReconnectBackoff()
        var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
        for (random, expected) in [(0.0, 50), (0.999, 199), (0.0, 200), (0.0, 400)] {
            backoff.failed(now: now, random: random)
            #expect((backoff.readyAt - now).nanoseconds / 1_000_000 == Int64(expected))
            // Eight connections are lost together, and are one failure.
            for _ in 0..<8 { backoff.failed(now: now + .milliseconds(1), random: 0.999) }
            #expect((backoff.readyAt - now).nanoseconds / 1_000_000 == Int64(expected))
            now = backoff.readyAt
        }
        for _ in 0..<100 {
            backoff.failed(now: now, random: 0.999)
            #expect(backoff.readyAt - now <= .seconds(5))
            now = backoff.readyAt
        }
        #expect(.milliseconds(CircuitBreaker.Settings().longestMs) > ReconnectBackoff.most)
        backoff.succeeded()
        #expect(backoff == ReconnectBackoff())
    }

    @Test("addresses are taken in turn, those that failed last behind the others")
    func order() throws {
        let addresses = try (1...3).map { try SocketAddress(ipAddress: "10.0.0.\($0)", port: 443) }
        let order = {
            ConnectAttempt.order(addresses, first: $0, avoiding: $1).map { addresses.firstIndex(of: $0) ?? -1 }
        }
        #expect(order(0, []) == [0, 1, 2])
        #expect(order(4, []) == [1, 2, 0])
        #expect(order(-1, []) == [2, 0, 1])
        #expect(order(0, [addresses[0]]) == [1, 2, 0])
        #expect(order(0, Set(addresses)) == [0, 1, 2])
        #expect(ConnectAttempt.order([], first: 3, avoiding: []).isEmpty)
    }

    @Test("an access token is fetched once, used, renewed before its end, and never used in its last half minute")
    func accessToken() {
        var state = AccessTokenState()
        #expect(state.demand(nowMs: 0) == (.wait, mustFetch: true))
        #expect(state.demand(nowMs: 1) == (.wait, mustFetch: false))
        let token = SharedBytes("Bearer a")
        state.fetched(token, lifeMs: 3_600_000, nowMs: 0)
        #expect(state.demand(nowMs: 3_299_999) == (.use(token), mustFetch: false))
        #expect(state.demand(nowMs: 3_300_000) == (.use(token), mustFetch: true))
        #expect(state.demand(nowMs: 3_300_001) == (.use(token), mustFetch: false))
        #expect(state.demand(nowMs: 3_570_000) == (.wait, mustFetch: false))
    }

    @Test("a failed fetch backs off, doubling, and a token that still lives is used meanwhile")
    func accessTokenBackoff() {
        var state = AccessTokenState()
        _ = state.demand(nowMs: 0)
        state.failed(refused: nil, nowMs: 0, random: 0)
        #expect(state.demand(nowMs: 499) == (.none(retryAtMs: 500, refused: nil), mustFetch: false))
        #expect(state.demand(nowMs: 500) == (.wait, mustFetch: true))
        state.failed(refused: "invalid_grant", nowMs: 500, random: 0)
        #expect(state.demand(nowMs: 600) == (.none(retryAtMs: 15_500, refused: "invalid_grant"), mustFetch: false))
        #expect(state.demand(nowMs: 15_500) == (.wait, mustFetch: true))
        let token = SharedBytes("Bearer a")
        state.fetched(token, lifeMs: 3_600_000, nowMs: 20_000)
        _ = state.demand(nowMs: 3_400_000)
        state.failed(refused: nil, nowMs: 3_400_000, random: 0)
        #expect(state.demand(nowMs: 3_400_001) == (.use(token), mustFetch: false))
    }

    @Test("a token that FCM does not take is not used again, and a second one within a minute is not fetched")
    func accessTokenInvalid() {
        var state = AccessTokenState()
        _ = state.demand(nowMs: 0)
        let first = SharedBytes("Bearer a")
        state.fetched(first, lifeMs: 3_600_000, nowMs: 0)
        state.invalidate(first, nowMs: 100_000)
        #expect(state.demand(nowMs: 100_000) == (.wait, mustFetch: true))
        let second = SharedBytes("Bearer b")
        state.fetched(second, lifeMs: 3_600_000, nowMs: 100_000)
        state.invalidate(first, nowMs: 100_001)
        #expect(state.demand(nowMs: 100_001) == (.use(second), mustFetch: false))
        state.invalidate(second, nowMs: 110_000)
        #expect(state.demand(nowMs: 110_000) == (.none(retryAtMs: 160_000, refused: nil), mustFetch: false))
    }
}
