import Challenges
import GuardedHTTP
import Synchronization
import Testing

@testable import Webhooks

@Suite("An endpoint's limit and breaker")
struct EndpointStateTests {
    private static let ok = AttemptResult(HTTPAnswer(status: 200))
    private static let failed = AttemptResult(HTTPAnswer(status: 503))
    private static let refused = AttemptResult(HTTPAnswer(status: 404))
    private static let timeout = AttemptResult(GuardedHTTPError.readTimeout)
    private static let ours = AttemptResult(GuardedHTTPError.nameServerSilent)

    @Test("8 at first, one more with each round of answers while a place is missing, half with each timeout")
    func limit() {
        var state = EndpointState()
        for _ in 0..<8 { expectPlace(&state, 0) }
        for _ in 0..<8 { _ = state.end(Self.ok, atMs: 1) }
        #expect(state.limit == 8, "no place was missing")
        for _ in 0..<8 { expectPlace(&state, 1) }
        expectFull(&state, 1)
        _ = state.end(Self.ok, atMs: 1)
        #expect(state.limit == 9, "the round was full already")
        expectPlace(&state, 1)
        expectPlace(&state, 1)
        expectFull(&state, 1)
        for _ in 0..<8 { _ = state.end(Self.ok, atMs: 2) }
        #expect(state.limit == 9)
        _ = state.end(Self.ok, atMs: 2)
        #expect(state.limit == 10)
        for _ in 0..<2 {
            expectPlace(&state, 3)
            _ = state.end(Self.timeout, atMs: 3)
        }
        #expect(state.limit == 2)
        for _ in 0..<1000 {
            while state.begin(atMs: 4) {}
            for _ in 0..<state.inFlight { _ = state.end(Self.ok, atMs: 4) }
        }
        #expect(state.limit == EndpointState.mostLimit)
    }

    @Test("five timeouts in a row open it; a real event probes; a good probe closes it")
    func breaker() {
        var state = EndpointState()
        for _ in 0..<5 {
            expectPlace(&state, 0)
            expectNotBack(&state, Self.timeout, atMs: 10)
        }
        #expect(!state.isClosed)
        expectFull(&state, 500)
        expectPlace(&state, 1010)
        // One probe at a time.
        expectFull(&state, 1010)
        expectNotBack(&state, Self.failed, atMs: 1020)
        expectFull(&state, 2500)
        expectPlace(&state, 3100)
        expectBack(&state, Self.ok, atMs: 3110)
        #expect(state.isClosed)
        #expect(state.limit >= 4)
    }

    @Test("seven of ten failures open it; refusals of single events do not")
    func share() {
        var state = EndpointState()
        for number in 0..<10 {
            expectPlace(&state, 0)
            _ = state.end(number < 3 ? Self.ok : Self.failed, atMs: 0)
        }
        #expect(!state.isClosed)
        var other = EndpointState()
        for _ in 0..<50 {
            expectPlace(&other, 0)
            _ = other.end(Self.refused, atMs: 0)
        }
        #expect(other.isClosed)
    }

    @Test("faults of our own open nothing, and a probe that met one is asked for again")
    func ownFaults() {
        var state = EndpointState()
        for _ in 0..<50 {
            expectPlace(&state, 0)
            _ = state.end(Self.ours, atMs: 0)
        }
        #expect(state.isClosed)
        for _ in 0..<5 {
            expectPlace(&state, 0)
            _ = state.end(Self.timeout, atMs: 0)
        }
        expectPlace(&state, 1000)
        expectNotBack(&state, Self.ours, atMs: 1000)
        expectPlace(&state, 2000)
    }

    @Test("waiting events get free places in their order, and go to the store after a second")
    func waiting() async {
        let clock = TestClock()
        let endpoint = Endpoint { clock.nowMs }
        for _ in 0..<8 { #expect(await endpoint.admit()) }
        async let first = endpoint.admit()
        await clock.until { endpoint.waitingCount == 1 }
        async let second = endpoint.admit()
        await clock.until { endpoint.waitingCount == 2 }
        _ = endpoint.end(Self.refused)
        #expect(await first)
        _ = endpoint.end(Self.ok)
        #expect(await second)
        async let third = endpoint.admit()
        await clock.until { endpoint.waitingCount == 1 }
        endpoint.tick()
        #expect(endpoint.waitingCount == 1)
        clock.nowMs += 1000
        endpoint.tick()
        #expect(await third == false)
        // Slow: the next one does not wait.
        #expect(await endpoint.admit() == false)
        _ = endpoint.end(Self.ok)
        #expect(await endpoint.admit())
    }

    @Test("the schedule is dense, ends after a day, and obeys Retry-After without going below it")
    func schedule() throws {
        var (nowMs, failures): (Int64, Int) = (0, 1)
        var waits: [Int64] = []
        while let next = RetrySchedule.next(
            failures: failures, firstFailureMs: 0, nowMs: nowMs, retryAfter: nil, random: 0.5)
        {
            waits.append((next - nowMs) / 1000)
            nowMs = next
            failures += 1
        }
        #expect(Array(waits.prefix(7)) == [1, 5, 15, 30, 60, 300, 900])
        #expect(nowMs <= RetrySchedule.longestMs)
        #expect(nowMs > 20 * 3_600_000)
        for random in [0, 0.5, 0.999] {
            let next = try #require(
                RetrySchedule.next(
                    failures: 1, firstFailureMs: 0, nowMs: 1000, retryAfter: .seconds(120), random: random))
            #expect(next >= 121_000)
        }
        // A clock that jumps back or forth never gives a time in the past.
        for nowMs in [-1_000_000_000_000, 0, 80_000_000] as [Int64] {
            if let next = RetrySchedule.next(
                failures: 3, firstFailureMs: 0, nowMs: nowMs, retryAfter: nil, random: 0)
            {
                #expect(next > nowMs)
            }
        }
    }

    @Test(
        "answers and failures are told apart",
        arguments: [
            (200, "", 0, AttemptResult.Disposition.delivered), (204, "", 0, .delivered),
            (302, "redirect", 11_215, .failed),
            (404, "status", 11_200, .failed), (410, "gone", 11_200, .abort), (429, "status", 11_200, .failed),
            (500, "status", 11_200, .failed),
        ])
    func answers(status: Int, reason: String, code: Int, disposition: AttemptResult.Disposition) {
        let result = AttemptResult(HTTPAnswer(status: status))
        #expect(result.reason == reason)
        #expect(result.code == code)
        #expect(result.disposition == disposition)
    }

    @Test("quick tries follow the policy of the URL: by default after a failed connection only")
    func quickTries() {
        let connect = AttemptResult(GuardedHTTPError.connectTimeout)
        #expect(connect.isRepeated(for: [.connect]))
        #expect(!Self.failed.isRepeated(for: [.connect]))
        #expect(Self.failed.isRepeated(for: [.status5xx]))
        #expect(!Self.refused.isRepeated(for: [.status5xx]))
        #expect(Self.refused.isRepeated(for: [.status4xx]))
        #expect(Self.timeout.isRepeated(for: [.read]))
        #expect(Self.timeout.isRepeated(for: [.all]))
        #expect(!AttemptResult(GuardedHTTPError.refused(detail: "")).isRepeated(for: [.all]))
    }
}

private func expectPlace(_ state: inout EndpointState, _ nowMs: Int64) {
    let isFree = state.begin(atMs: nowMs)
    #expect(isFree)
}

private func expectFull(_ state: inout EndpointState, _ nowMs: Int64) {
    let isFree = state.begin(atMs: nowMs)
    #expect(!isFree)
}

private func expectBack(_ state: inout EndpointState, _ result: AttemptResult, atMs nowMs: Int64) {
    let isBack = state.end(result, atMs: nowMs)
    #expect(isBack)
}

private func expectNotBack(_ state: inout EndpointState, _ result: AttemptResult, atMs nowMs: Int64) {
    let isBack = state.end(result, atMs: nowMs)
    #expect(!isBack)
}

/// A clock that a test moves.
final class TestClock: Sendable {
    private let value = Mutex<Int64>(0)

    var nowMs: Int64 {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }

    func until(_ condition: () -> Bool) async {
        while !condition() { try? await Task.sleep(for: .milliseconds(1)) }
    }
}
