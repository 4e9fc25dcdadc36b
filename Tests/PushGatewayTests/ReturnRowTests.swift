import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("what a circuit kept back comes again in a row")
struct ReturnRowTests {
    private static let failure = CircuitBreaker.Event.failure(retryAfterMs: 0)

    private func returning(_ expiresAtMs: Int64 = 86_400_000) -> ReturnRow.Push {
        ReturnRow.Push(isFirst: false, expiresAtMs: expiresAtMs)
    }

    /// Five seconds at 200 a second, the last of them failing: open until 6995.
    private func busy() -> CircuitBreaker {
        var breaker = CircuitBreaker()
        for number in Int64(0)..<1000 {
            _ = breaker.admit(ReturnRow.Push(isFirst: true, expiresAtMs: 86_400_000), nowMs: number * 5)
        }
        for number in Int64(0)..<10 { breaker.record(Self.failure, wasProbe: false, nowMs: 4095 + number * 100) }
        return breaker
    }

    private func turn(_ breaker: inout CircuitBreaker, _ push: ReturnRow.Push, nowMs: Int64) -> Int64? {
        guard case .stayAway(let untilMs) = breaker.admit(push, nowMs: nowMs) else { return nil }
        return untilMs
    }

    @Test("one after the other, half as fast as first pushes came, and in one row when the circuit opens again")
    func order() throws {
        var breaker = busy()
        #expect(breaker.state == .open(untilMs: 6995))
        let times = (Int64(0)..<1000).compactMap { turn(&breaker, returning(), nowMs: 5000 + $0) }
        #expect(times.count == 1000 && times.first == 6995 && times == times.sorted())
        #expect((6995 + 9900...6995 + 10_100).contains(times.last ?? 0), "\(times.last ?? 0)")
        #expect(breaker.admit(returning(), nowMs: 6995) == .probe)
        breaker.record(Self.failure, wasProbe: true, nowMs: 7100)
        let next = try #require(turn(&breaker, returning(), nowMs: 7101))
        #expect((9...11).contains(next - (times.last ?? 0)))
    }

    @Test("whose turn would come in the last quarter of its life gets none, and takes none from others")
    func tooLate() throws {
        var breaker = busy()
        let times = (0..<5000).map { _ in turn(&breaker, returning(26_000), nowMs: 5000) }
        // From 6,995 on one every 10 ms, up to three quarters of the 21 s.
        let inTime = times.prefix { $0 != nil }.compactMap { $0 }
        #expect((1370...1380).contains(inTime.count))
        #expect(inTime.first == 6995 && (20_730...20_750).contains(inTime.last ?? 0))
        #expect(times.dropFirst(inTime.count).allSatisfy { $0 == nil })
        let next = try #require(turn(&breaker, returning(26_100), nowMs: 5000))
        #expect((1...11).contains(next - (inTime.last ?? 0)))
    }

    @Test("a background push, which nobody sends again, takes no turn")
    func background() throws {
        var breaker = busy()
        for _ in 0..<100 {
            let push = ReturnRow.Push(isFirst: false, isOnlyNow: true, expiresAtMs: 86_400_000)
            #expect(breaker.admit(push, nowMs: 5000) == .stayAway(untilMs: nil))
        }
        #expect(turn(&breaker, returning(), nowMs: 5000) == 6995)
    }

    @Test("the usual rate is that of first pushes: what comes again does not raise it")
    func rate() {
        var rate = PushRate()
        #expect(rate.perSecond(nowMs: 0) == 0)
        // Within the first second as well.
        for number in Int64(0)..<50 { rate.count(nowMs: 1000 + number * 2) }
        #expect((190...210).contains(rate.perSecond(nowMs: 1098)))
        for number in Int64(0)..<2000 { rate.count(nowMs: 1100 + number * 5) }
        #expect((190...210).contains(rate.perSecond(nowMs: 11_100)))
        // After a quiet nothing is known but what comes.
        for number in Int64(0)..<100 { rate.count(nowMs: 100_000 + number * 10) }
        #expect((95...105).contains(rate.perSecond(nowMs: 101_000)))
        var row = ReturnRow()
        for nowMs in Int64(0)..<5000 { row.count(returning(), nowMs: nowMs) }
        #expect(row.turn(returning(), notBeforeMs: 5000, nowMs: 5000) == 5000)
        #expect(row.turn(returning(), notBeforeMs: 5000, nowMs: 5000) == 5100)
    }

    private struct Course {
        /// Attempts by the second.
        var sent: [Int]
        /// By life in seconds: came again and was taken, told that it will not.
        var returned: [Int64: Int] = [:]
        var told: [Int64: Int] = [:]
        /// Sent in the last tenth of a life.
        var late = 0
    }

    /// 40 a second with these lives in turn, by the millisecond; what is kept back comes again at its time. 503 for
    /// `sick`.
    private func course(livesS: [Int64], sick: Range<Int64>, seconds: Int64) -> Course {
        var breaker = CircuitBreaker()
        var turns: [Int64: [(born: Int64, lifeS: Int64)]] = [:]
        for number in 0..<(seconds * 40) {
            turns[number * 25, default: []].append((number * 25, livesS[Int(number) % livesS.count]))
        }
        var course = Course(sent: [Int](repeating: 0, count: Int(seconds)))
        for nowMs in 0..<(seconds * 1000) {
            for push in turns.removeValue(forKey: nowMs) ?? [] {
                let expiresAtMs = push.born + push.lifeS * 1000
                let admission = breaker.admit(
                    ReturnRow.Push(isFirst: push.born == nowMs, expiresAtMs: expiresAtMs), nowMs: nowMs)
                if case .stayAway(let untilMs) = admission {
                    if let untilMs {
                        turns[untilMs, default: []].append(push)
                    } else {
                        course.told[push.lifeS, default: 0] += 1
                    }
                    continue
                }
                course.sent[Int(nowMs / 1000)] += 1
                course.late += nowMs > expiresAtMs - push.lifeS * 100 ? 1 : 0
                if sick.contains(nowMs) {
                    breaker.record(Self.failure, wasProbe: admission == .probe, nowMs: nowMs)
                    turns[nowMs + 10_000, default: []].append(push)
                } else {
                    breaker.record(.success, wasProbe: admission == .probe, nowMs: nowMs)
                    course.returned[push.lifeS, default: 0] += nowMs > push.born ? 1 : 0
                }
            }
        }
        return course
    }

    @Test(
        "after a minute of 503 half as many again as usual are sent, never more; each comes again or is told that it will not",
        arguments: [
            ([20], [20: 250]), ([60], [60: 800]), ([300], [300: 2350]), ([300, 60], [300: 1150, 60: 400]),
            ([300, 300, 300, 20], [300: 1700, 20: 60]),
        ] as [([Int64], [Int64: Int])])
    func recovery(livesS: [Int64], atLeast: [Int64: Int]) {
        let course = course(livesS: livesS, sick: 20_000..<80_000, seconds: 260)
        let during = course.sent[21..<80]
        #expect(during.allSatisfy { $0 <= 40 } && during.reduce(0, +) < 60, "\(during)")
        let after = course.sent[80...]
        #expect(after.allSatisfy { $0 <= 64 }, "\(after)")
        #expect(after.suffix(30).allSatisfy { $0 <= 41 }, "\(after.suffix(30))")
        #expect(course.late == 0)
        #expect(course.returned.values.reduce(0, +) + course.told.values.reduce(0, +) >= 2350)
        for (lifeS, count) in atLeast { #expect(course.returned[lifeS] ?? 0 >= count, "\(lifeS) s: \(course)") }
    }

    @Test("a worker that starts while the provider is away knows the usual rate from what it keeps back")
    func startedMeanwhile() {
        let course = course(livesS: [300], sick: 0..<30_000, seconds: 120)
        #expect(course.sent[30...].allSatisfy { $0 <= 64 }, "\(course.sent)")
        #expect(course.sent[36..<66].reduce(0, +) > 1650, "\(course.sent)")
        #expect(course.told.isEmpty)
    }
}
