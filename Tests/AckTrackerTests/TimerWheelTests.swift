import TestSupport
import Testing

@testable import AckTracker

@Suite("Timer wheel")
struct TimerWheelTests {
    @Test("fires at its tick, once, and not after a cancel")
    func basics() {
        var wheel = TimerWheel(now: 100)
        wheel.schedule(1, at: 105)
        wheel.schedule(2, at: 105)
        wheel.schedule(3, at: 50)
        wheel.cancel(2)
        var fired: [UInt32] = []
        wheel.advance(to: 101) { fired.append($0) }
        #expect(fired == [3], "what has passed fires at the next tick")
        wheel.advance(to: 104) { fired.append($0) }
        #expect(fired == [3])
        wheel.advance(to: 500) { fired.append($0) }
        #expect(fired == [3, 1])
        #expect(wheel.count == 0)
        #expect(wheel.deadline(of: 1) == nil)
    }

    @Test("a timer set anew fires at its last time only")
    func again() {
        var wheel = TimerWheel()
        wheel.schedule(7, at: 10)
        wheel.schedule(7, at: 70_000)
        var fired: [UInt32] = []
        wheel.advance(to: 69_999) { fired.append($0) }
        #expect(fired.isEmpty)
        wheel.advance(to: 70_000) { fired.append($0) }
        #expect(fired == [7])
    }

    @Test(
        "agrees with a sorted list over every distance, with cancels and resets",
        arguments: [1, 2, 3, 4, 5] as [UInt64])
    func property(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var wheel = TimerWheel(now: seed * 77)
        var expected: [UInt32: UInt64] = [:]
        var now = wheel.now
        for _ in 0..<4_000 {
            switch UInt8.random(in: 0..<10, using: &generator) {
            case 0..<6:
                let id = UInt32.random(in: 0..<500, using: &generator)
                let reach: UInt64 = [3, 255, 256, 257, 65_535, 65_536, 70_000, 200_000].randomElement(
                    using: &generator)!
                let tick = now + UInt64.random(in: 0...reach, using: &generator)
                wheel.schedule(id, at: tick)
                expected[id] = max(tick, now + 1)
            case 6:
                let id = UInt32.random(in: 0..<500, using: &generator)
                wheel.cancel(id)
                expected[id] = nil
            default:
                let step: UInt64 = [1, 7, 256, 3_000].randomElement(using: &generator)!
                let target = now + UInt64.random(in: 0...step, using: &generator)
                var fired: [UInt32] = []
                wheel.advance(to: target) { fired.append($0) }
                now = target
                let due = expected.filter { $0.value <= target }
                #expect(Set(fired) == Set(due.keys))
                #expect(fired.count == due.count)
                #expect(
                    fired.map { due[$0] ?? 0 } == fired.map { due[$0] ?? 0 }.sorted(), "in the order of their ticks")
                for id in fired { expected[id] = nil }
            }
            #expect(wheel.count == expected.count)
        }
    }
}
