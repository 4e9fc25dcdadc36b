import ChallengeModel
import Challenges
import Foundation
import Testing

extension ConformanceCase {
    /// Events with these subjects, in this order.
    private static func fill(_ world: World, _ subjects: [String]) async throws {
        for (index, subject) in subjects.enumerated() {
            _ = try await world.store.rejectRequest(
                subject, account: world.account, service: "\(world.service)/\(UUID().uuidString)",
                eventID: "\(index)", data: ["reason": "test"], nowMs: World.t0 + Int64(index))
        }
    }

    static let outbox: [ConformanceCase] = [
        ConformanceCase("rows are claimed oldest first, once, until their lease ends") { world in
            try await fill(world, ["a", "b", "c", "d"])
            let t0 = World.t0
            let first = try await world.store.outbox.claimOutbox(owner: "one", limit: 2, leaseMs: 1000, nowMs: t0)
            #expect(first.map(\.key) == ["a", "b"])
            let second = try await world.store.outbox.claimOutbox(owner: "one", limit: 10, leaseMs: 1000, nowMs: t0 + 1)
            #expect(second.map(\.key) == ["c", "d"])
            #expect(
                try await world.store.outbox.claimOutbox(owner: "two", limit: 10, leaseMs: 1, nowMs: t0 + 999).isEmpty)
            let taken = try await world.store.outbox.claimOutbox(
                owner: "two", limit: 10, leaseMs: 1000, nowMs: t0 + 1000)
            #expect(taken == first, "only those whose lease has ended")
        },
        ConformanceCase("only the owner deletes and gives back") { world in
            try await fill(world, ["a", "b"])
            let rows = try await world.store.outbox.claimOutbox(owner: "one", limit: 10, leaseMs: 1000, nowMs: World.t0)
            let ids = rows.map(\.id)
            try await world.store.outbox.deleteOutbox(ids, owner: "two")
            try await world.store.outbox.releaseOutbox(ids, owner: "two")
            #expect(try await world.store.outbox.outboxState().rows == 2)
            #expect(
                try await world.store.outbox.claimOutbox(owner: "two", limit: 10, leaseMs: 1, nowMs: World.t0).isEmpty)
            try await world.store.outbox.releaseOutbox([ids[1]], owner: "one")
            let given = try await world.store.outbox.claimOutbox(
                owner: "two", limit: 10, leaseMs: 1000, nowMs: World.t0)
            #expect(given.map(\.id) == [ids[1]])
            try await world.store.outbox.deleteOutbox(ids, owner: "one")
            #expect(try await world.store.outbox.outboxState().rows == 1, "the one that another holds now stays")
            try await world.store.outbox.releaseOutbox(ids, owner: "two")
            #expect(
                try await world.store.outbox.claimOutbox(owner: "three", limit: 10, leaseMs: 1, nowMs: World.t0).count
                    == 1)
        },
        ConformanceCase("what was published is deleted although its lease has ended, unless another holds it") {
            world in
            try await fill(world, ["a", "b", "c"])
            let t0 = World.t0
            let rows = try await world.store.outbox.claimOutbox(owner: "one", limit: 3, leaseMs: 1000, nowMs: t0)
            let taken = try await world.store.outbox.claimOutbox(
                owner: "two", limit: 1, leaseMs: 1000, nowMs: t0 + 1000)
            #expect(taken == [rows[0]])
            try await world.store.outbox.deleteOutbox(rows.map(\.id), owner: "one")
            #expect(try await world.store.outbox.outboxState().rows == 1)
            let left = try await world.store.outbox.claimOutbox(owner: "two", limit: 3, leaseMs: 1000, nowMs: t0 + 2000)
            #expect(left == [rows[0]])
        },
        ConformanceCase("a scan takes of each partition what it has room for, and names what it left") { world in
            try await fill(world, ["a1", "b1", "a1", "a2", "b2", "a3"])
            let partitions = ["a": OutboxPartition(.events, 1), "b": OutboxPartition(.events, 2)]
            func claim(_ scan: OutboxScan) async throws -> ([String], OutboxScan) {
                let (rows, scan) = try await world.store.outbox.claimOutbox(
                    scan, owner: "one", leaseMs: 1000, nowMs: World.t0)
                return (rows.map(\.key), scan)
            }
            func scan(
                _ limit: Int, from: Int64 = 1, _ room: [OutboxPartition: Int], else roomElse: Int = 0
            ) -> OutboxScan {
                OutboxScan(ids: from...Int64.max, limit: limit, room: room, roomElse: roomElse) {
                    partitions[String($1.prefix(1))] ?? OutboxPartition($0, 0)
                }
            }
            let (a, b) = (OutboxPartition(.events, 1), OutboxPartition(.events, 2))
            let (first, ended) = try await claim(scan(10, [a: 1], else: 1))
            #expect(first == ["a1", "b1"] && !ended.isFull)
            let last = try #require(ended.last)
            #expect(ended.left == [a: last - 3, b: last - 1])
            let (second, full) = try await claim(scan(2, from: last - 3, [a: 5]))
            #expect(second == ["a1", "a2"] && full.isFull && full.last == last - 2 && full.left.isEmpty)
            let (third, rest) = try await claim(scan(10, from: last, [a: 5, b: 5]))
            #expect(third == ["a3"] && rest.last == last, "it begins where it is told to")
            // But not above what a lease gives free that has ended.
            try await fill(world, ["a4"])
            let (rows, _) = try await world.store.outbox.claimOutbox(
                scan(10, from: last + 1, [a: 5]), owner: "two", leaseMs: 1000, nowMs: World.t0 + 1000)
            #expect(rows.map(\.key) == ["a1", "a1", "a2", "a3", "a4"])
        },
        ConformanceCase("a row does not overtake an earlier one of its key that another owner holds") { world in
            try await fill(world, ["a", "b"])
            _ = try await world.store.outbox.claimOutbox(owner: "one", limit: 1, leaseMs: 1000, nowMs: World.t0)
            try await fill(world, ["a", "c"])
            let two = try await world.store.outbox.claimOutbox(owner: "two", limit: 10, leaseMs: 1000, nowMs: World.t0)
            #expect(two.map(\.key) == ["b", "c"])
            // The dead owner's row first, then the one behind it.
            let later = try await world.store.outbox.claimOutbox(
                owner: "two", limit: 10, leaseMs: 500, nowMs: World.t0 + 1000)
            #expect(later.filter { $0.key == "a" }.map(\.id) == later.filter { $0.key == "a" }.map(\.id).sorted())
            #expect(later.count { $0.key == "a" } == 2)
        },
        ConformanceCase("four relays at once share the rows without a double") { world in
            try await fill(world, (0..<200).map { "k\($0)" })
            let claims = try await withThrowingTaskGroup(of: [Int64].self) { group in
                for owner in 0..<4 {
                    group.addTask {
                        var mine: [Int64] = []
                        while true {
                            let rows = try await world.store.outbox.claimOutbox(
                                owner: "o\(owner)", limit: 7, leaseMs: 1000, nowMs: World.t0)
                            if rows.isEmpty { return mine }
                            mine += rows.map(\.id)
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(claims.count == 200 && Set(claims).count == 200)
        },
        ConformanceCase("the state counts rows and dates the oldest dispatch") { world in
            #expect(try await world.store.outbox.outboxState() == (0, nil))
            try await fill(world, ["a"])
            #expect(try await world.store.outbox.outboxState() == (1, nil))
            _ = try await world.factor()
            _ = try await world.challenge(expiresAtMs: World.t0 + 5000, nowMs: World.t0 + 77)
            _ = try await world.challenge(expiresAtMs: World.t0 + 5000, nowMs: World.t0 + 88)
            let state = try await world.store.outbox.outboxState()
            #expect(state.rows == 7 && state.oldestDispatchMs == World.t0 + 77)
            _ = try await world.drain()
            #expect(try await world.store.outbox.outboxState() == (0, nil))
        },
        ConformanceCase("a commit with rows is signalled, to whoever reads last; one without is not") { world in
            let former = world.store.outbox.outboxSignal
            let signals = world.store.outbox.outboxSignal
            // One signal to start with; then the former has ended.
            #expect(await former.reduce(0) { count, _ in count + 1 } == 1)
            var iterator = signals.makeAsyncIterator()
            #expect(await iterator.next(isolation: #isolation) != nil)
            _ = try await world.store.createAccessToken(
                NewAccessToken(account: world.account, service: world.service, identity: "a-person"), nowMs: World.t0)
            try await fill(world, ["a"])
            #expect(await iterator.next(isolation: #isolation) != nil)
            await world.store.close()
            // Were the token's commit signalled too, it would be kept and come first.
            #expect(await iterator.next(isolation: #isolation) == nil)
        },
        ConformanceCase("event ids are stable and sequences ascend") { world in
            let factor = try await world.factor()
            let challenge = try await world.challenge()
            _ = try await world.store.answer(world.answer(challenge.sid, factor.sid), nowMs: World.t0)
            try await fill(world, ["s"])
            let events = try await world.drain().events
            #expect(
                events.map(\.id) == [
                    "\(factor.sid)/factor.created", "\(factor.sid)/factor.verified",
                    "\(challenge.sid)/challenge.created", "\(challenge.sid)/challenge.approved", "0",
                ])
            let sequences = try events.map { try #require(UInt64($0.sequence)) }
            #expect(sequences == sequences.sorted() && Set(sequences).count == events.count)
            // The last is of a service that is no SID: the event names none.
            #expect(events.map { $0.source.contains(world.service.rawValue) } == [true, true, true, true, false])
        },
        ConformanceCase("after close everything is refused, and what was under way is kept") { world in
            _ = try await world.factor()
            async let last = world.challenge()
            await world.store.close()
            _ = try? await last
            #expect(await storeError { _ = try await world.challenge() } == .closed)
            #expect(
                await storeError { _ = try await world.store.service(world.service, account: world.account) } == .closed
            )
            await world.store.close()
        },
    ]
}
