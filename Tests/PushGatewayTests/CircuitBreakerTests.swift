import NIOCore
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("the circuit breaker, the reconnect back-off and the access token's state")
struct CircuitBreakerTests {
    private static let push = ReturnRow.Push(isFirst: false, expiresAtMs: 86_400_000)
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
        #expect(breaker.admit(Self.push, nowMs: 1999) == .stayAway(untilMs: 2000))
        #expect(breaker.admit(Self.push, nowMs: 2000) == .probe)
        #expect(breaker.admit(Self.push, nowMs: 2001) == .stayAway(untilMs: 3001))
        var other = breaker
        let hasChanged = breaker.record(.success, wasProbe: true, nowMs: 2100)
        #expect(hasChanged)
        #expect(breaker.state == .closed)
        #expect(breaker.admit(Self.push, nowMs: 2101) == .send)
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
        #expect(breaker.admit(Self.push, nowMs: 3000) == .probe)
        breaker.record(.neutral, wasProbe: true, nowMs: 3010)
        #expect(breaker.admit(Self.push, nowMs: 3011) == .probe)
    }

    @Test("a lost probe does not keep it open for ever")
    func lostProbe() {
        var breaker = opened()
        #expect(breaker.admit(Self.push, nowMs: 3000) == .probe)
        #expect(breaker.admit(Self.push, nowMs: 8000) == .probe)
    }

    @Test("the time doubles up to six seconds and starts anew after a success")
    func doubling() {
        var breaker = opened()
        var now: Int64 = 0
        for expected: Int64 in [4000, 6000, 6000, 6000] {
            guard case .open(let until) = breaker.state else { return #expect(Bool(false)) }
            now = until
            #expect(breaker.admit(Self.push, nowMs: now) == .probe)
            breaker.record(Self.failure, wasProbe: true, nowMs: now)
            #expect(breaker.state == .open(untilMs: now + expected))
        }
        _ = breaker.admit(Self.push, nowMs: now + 6000)
        breaker.record(.success, wasProbe: true, nowMs: now + 6001)
        for number in Int64(0)..<10 {
            breaker.record(Self.failure, wasProbe: false, nowMs: now + 70_000 + number * 100)
        }
        #expect(breaker.state == .open(untilMs: now + 70_900 + 2000))
    }

    @Test("credential faults, which somebody has to mend, are asked about once a minute in the end")
    func lastingFaults() {
        var breaker = CircuitBreaker()
        for _ in 0..<5 { breaker.record(.credentialFault, wasProbe: false, nowMs: 0) }
        var now: Int64 = 0
        for expected: Int64 in [4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            guard case .open(let until) = breaker.state else { return #expect(Bool(false)) }
            now = until
            #expect(breaker.admit(Self.push, nowMs: now) == .probe)
            breaker.record(.credentialFault, wasProbe: true, nowMs: now)
            #expect(breaker.state == .open(untilMs: now + expected))
        }
    }

    @Test("a provider that says how long to stay away is left alone that long, from the first answer")
    func pause() {
        var breaker = CircuitBreaker()
        let hasOpened = breaker.record(.pause(ms: 60_000), wasProbe: false, nowMs: 1000)
        #expect(hasOpened)
        #expect(breaker.admit(Self.push, nowMs: 60_999) == .stayAway(untilMs: 61_000))
        breaker.record(.pause(ms: 1000), wasProbe: false, nowMs: 2000)
        #expect(breaker.admit(Self.push, nowMs: 61_000) == .probe)
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
        var backoff = ReconnectBackoff.connections
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
        #expect(.milliseconds(CircuitBreaker.Settings().longestMs) > ReconnectBackoff.connections.most)
        backoff.succeeded()
        #expect(backoff == .connections)
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

    @Test("streams that are refused again and again wait longer each time, up to a minute")
    func refusedStreams() {
        var backoff = ReconnectBackoff.refusals
        var now = NIODeadline.uptimeNanoseconds(1)
        var waits: [Int64] = []
        for _ in 0..<8 {
            backoff.failed(now: now, random: 0)
            // One that was refused in the same breath says nothing new.
            backoff.failed(now: now + .milliseconds(1), random: 0)
            waits.append((backoff.readyAt - now).nanoseconds / 1_000_000)
            now = backoff.readyAt
        }
        #expect(waits == [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
        backoff.succeeded()
        backoff.failed(now: now, random: 0)
        #expect(backoff.readyAt - now == .seconds(1))
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
        // A key that is turned down again and again is asked about ever less, up to five minutes.
        var waits: [Int64] = []
        for _ in 0..<6 {
            state.failed(refused: "invalid_grant", nowMs: 15_500, random: 0)
            waits.append(state.retryAtMs - 15_500)
            _ = state.demand(nowMs: state.retryAtMs)
        }
        #expect(waits == [30_000, 60_000, 120_000, 150_000, 150_000, 150_000])
        state.failed(refused: nil, nowMs: 15_500, random: 0, atLeastMs: 90_000)
        #expect(state.retryAtMs == 105_500, "what the endpoint asks for")
        _ = state.demand(nowMs: 105_500)
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
