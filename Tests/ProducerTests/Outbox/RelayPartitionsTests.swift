import ChallengeModel
import TestSupport
import Testing

@testable import Challenges
@testable import Producer
@testable import Storage

@Suite("Relay partitions", .timeLimit(.minutes(5)))
struct RelayPartitionsTests {
    /// The free rows of an outbox: the key's first letter is its partition.
    private struct Outbox {
        var partitions = RelayPartitions { topic, key in OutboxPartition(topic, Int32(key.utf8.first ?? 0)) }
        var free: [Int64: String] = [:]

        init(_ keys: [String] = []) {
            for (index, key) in keys.enumerated() { free[Int64(index + 1)] = key }
        }

        /// Claims as a store does, and holds what it got.
        mutating func claim(
            _ part: RelayPartitions.Part, limit: Int = 100, share: Int, nowMs: Int64 = 0
        ) -> [(id: Int64, key: String)] {
            guard let plan = partitions.plan(part, limit: limit, share: share, nowMs: nowMs) else { return [] }
            var scan = plan.scan
            var taken: [(id: Int64, key: String)] = []
            for (id, key) in free.sorted(by: { $0.key < $1.key }) where scan.ids.contains(id) && !scan.isFull {
                guard scan.takes(id, .events, key: key, isFree: true) else { continue }
                taken.append((id, key))
                free[id] = nil
            }
            partitions.carriedOut(plan, scan)
            return taken
        }

        func partition(_ key: String) -> OutboxPartition { partitions.partition(.events, key) }
    }

    @Test("a partition gets its share; what is left comes in its order when there is room, new rows of it behind")
    func share() {
        var outbox = Outbox(["a1", "a2", "a3", "b1", "a4"])
        #expect(outbox.claim(.front, share: 2).map(\.key) == ["a1", "a2", "b1"])
        outbox.partitions.holds(2, moreOf: outbox.partition("a"))
        outbox.free[6] = "a5"
        outbox.free[7] = "b2"
        #expect(outbox.claim(.backlog, share: 2).isEmpty, "no room")
        #expect(outbox.claim(.front, share: 2).map(\.key) == ["b2"])
        outbox.partitions.holds(-1, moreOf: outbox.partition("a"))
        #expect(outbox.claim(.backlog, share: 2).map(\.key) == ["a3"])
        outbox.partitions.holds(-1, moreOf: outbox.partition("a"))
        #expect(outbox.claim(.backlog, share: 2).map(\.key) == ["a4", "a5"])
        #expect(outbox.claim(.backlog, share: 9).isEmpty, "nothing is left behind")
        outbox.free[8] = "a6"
        #expect(outbox.claim(.front, share: 9).map(\.key) == ["a6"])
    }

    @Test("what is left behind waits for room for a quarter of a share, what is new for none of it")
    func quarter() {
        var outbox = Outbox(["a1", "a2"])
        outbox.partitions.holds(7, moreOf: outbox.partition("a"))
        #expect(outbox.claim(.front, share: 8).map(\.key) == ["a1"])
        #expect(outbox.claim(.backlog, share: 8).isEmpty)
        outbox.partitions.holds(-1, moreOf: outbox.partition("a"))
        #expect(outbox.claim(.backlog, share: 8).map(\.key) == ["a2"])
    }

    @Test("a partition that fails rests, longer each time up to 5 s; an acknowledgement ends it; others go on")
    func rest() {
        var outbox = Outbox()
        let a = outbox.partition("a")
        outbox.partitions.holds(0, moreOf: a)
        var nowMs: Int64 = 1000
        func rest(_ outbox: inout Outbox) -> Int64 {
            outbox.partitions.hasFailed(a, nowMs: nowMs)
            // One beside it, a moment later: the same failure.
            outbox.partitions.hasFailed(a, nowMs: nowMs + 1)
            let start = nowMs
            outbox.free = [1: "a1", 2: "b1"]
            outbox.partitions.startOver()
            #expect(outbox.claim(.front, share: 5, nowMs: nowMs).map(\.key) == ["b1"])
            while outbox.claim(.backlog, share: 5, nowMs: nowMs).isEmpty, nowMs < start + 100_000 { nowMs += 10 }
            return nowMs - start
        }
        let rests = (0..<8).map { _ in rest(&outbox) }
        #expect(rests == [100, 200, 400, 800, 1600, 3200, 5000, 5000])
        #expect(outbox.partitions.failing == 1)
        outbox.partitions.isAcknowledged(a)
        #expect(outbox.partitions.failing == 0)
        #expect(rest(&outbox) == 100)
        outbox.partitions.hasFailed(a, nowMs: nowMs)
        outbox.free = [1: "a1"]
        outbox.partitions.startOver()
        #expect(outbox.claim(.front, share: 5, nowMs: nowMs - 3_600_000).map(\.key) == ["a1"], "a clock set back")
    }

    @Test("a hundred partitions that stand still leave room for the next one")
    func standStill() {
        var room = 4000 - 125
        for _ in 0..<100 { room -= RelayPartitions.share(ofRoom: room) }
        #expect(room >= RelayPartitions.share(ofRoom: room) && room > 0, "\(room)")
    }

    @Test(
        "rows of a key go in their order and each is acknowledged once, whatever fails and whenever", arguments: 0..<50)
    func random(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var outbox = Outbox()
        var window = RelayWindow(sendReserveMs: 10, partitions: outbox.partitions)
        var keys: [Int64: String] = [:]
        var flying: [Int64] = []
        var done: [String: [Int64]] = [:]
        var nowMs: Int64 = 0
        func carryOut(_ step: RelayWindow.Step) {
            flying += step.send.map(\.id)
            for id in step.release { outbox.free[id] = keys[id] }
            window.areDeleted(step.delete)
        }
        func turn(failing: Int) {
            for part in RelayPartitions.Part.allCases {
                outbox.partitions = window.partitions
                let rows = outbox.claim(part, limit: 5, share: 3, nowMs: nowMs)
                window.partitions = outbox.partitions
                carryOut(
                    window.admit(
                        rows.map {
                            OutboxRow(
                                id: $0.id, topic: .events, key: $0.key, value: [], contentType: .protobuf,
                                expiresAtMs: nil, traceparent: nil)
                        }, leaseEndsMs: .max, nowMs: nowMs))
            }
            for _ in 0..<3 where !flying.isEmpty {
                let id = flying.remove(at: Int.random(in: 0..<flying.count, using: &random))
                let fails = Int.random(in: 0..<100, using: &random) < failing
                if !fails { done[keys[id] ?? "", default: []].append(id) }
                carryOut(window.finish(id, fails ? .failed : .acknowledged, nowMs: nowMs))
            }
            nowMs += Int64.random(in: 0..<100, using: &random)
        }
        for id in 1...300 as ClosedRange<Int64> {
            let key = ["a", "b", "c"].randomElement(using: &random)! + "\(Int.random(in: 0..<4, using: &random))"
            keys[id] = key
            outbox.free[id] = key
            if Bool.random(using: &random) { turn(failing: key.hasPrefix("a") ? 80 : 10) }
        }
        for _ in 0..<5000 where !(outbox.free.isEmpty && window.held == 0) { turn(failing: 10) }
        #expect(outbox.free.isEmpty && window.held == 0)
        for (key, ids) in done { #expect(ids == keys.filter { $0.value == key }.keys.sorted(), "\(key)") }
        #expect(done.values.reduce(0) { $0 + $1.count } == 300)
    }
}
