import Synchronization
import Testing

@testable import KafkaGroup

@Suite("Latches, slots and back-off", .timeLimit(.minutes(5)))
struct WaitingTests {
    final class UnderWay: Sendable { let counts = Mutex((now: 0, most: 0, done: 0)) }

    @Test("a latch lets everybody through once it is open, before and after")
    func latch() async {
        let latch = Latch()
        await withDiscardingTaskGroup { group in
            for _ in 0..<10 { group.addTask { await latch.wait() } }
            latch.open()
        }
        await latch.wait()
        #expect(latch.isOpen)
        #expect(await latch.wait(atMost: .seconds(3600)))
    }

    @Test("a wait for a latch ends with its deadline, or with its task; the latch stays shut")
    func latchEnds() async {
        let latch = Latch()
        #expect(await !latch.wait(atMost: .milliseconds(1)))
        let waiting = Task { await latch.wait() }
        waiting.cancel()
        await waiting.value
        #expect(!latch.isOpen)
    }

    @Test("no more than the slots are under way at once, and each that waits gets one")
    func slots() async {
        let slots = Slots(3)
        let underWay = UnderWay()
        await withDiscardingTaskGroup { group in
            for _ in 0..<50 {
                group.addTask {
                    guard await slots.take() else { return }
                    underWay.counts.withLock {
                        $0.now += 1
                        $0.most = max($0.most, $0.now)
                    }
                    await Task.yield()
                    underWay.counts.withLock {
                        $0.now -= 1
                        $0.done += 1
                    }
                    slots.give()
                }
            }
        }
        let seen = underWay.counts.withLock { $0 }
        #expect(seen.done == 50 && seen.now == 0 && (1...3).contains(seen.most))
    }

    @Test("a wait for a slot ends with its deadline, and takes no slot with it")
    func slotsInTime() async {
        let slots = Slots(1)
        #expect(await slots.take(atMost: .zero))
        #expect(await !slots.take(atMost: .milliseconds(1)))
        let waiting = Task { await slots.take(atMost: .seconds(3600)) }
        slots.give()
        #expect(await waiting.value)
        slots.give()
        #expect(await slots.take(atMost: .zero))
        #expect(await !slots.take(atMost: .zero))
    }

    @Test("a cancelled wait holds no slot")
    func cancelledSlots() async {
        let slots = Slots(1)
        #expect(await slots.take())
        let waiting = Task { await slots.take() }
        waiting.cancel()
        #expect(await !waiting.value)
        slots.give()
        #expect(await slots.take())
    }
}
