import ChallengeModel
import Challenges
import Foundation
import TestSupport
import Testing

@testable import Storage

/// What ``ConformanceCase/rangeLeases`` promises of an outbox whose rows are leased, for lanes that are leased by the
/// server's clock: the same ten cases, one by one. Where the promise is another one, its sentence says so.
@Suite("PostgreSQL: leases of the outbox", .postgres, .timeLimit(.minutes(10)))
struct PostgresLeaseTests {
    private static let leaseMs: Int64 = 60_000

    private func with(_ body: (PostgresWorld, OutboxStores) async throws -> Void) async throws {
        try await PostgresWorld.with { world in
            let second = try PostgresEngine(world.engine.pool.settings, logger: quiet)
            try await body(world, OutboxStores(world: world, one: world.engine, two: second))
            await second.close()
        }
    }

    /// The outboxes of two Producers.
    private struct OutboxStores {
        let world: PostgresWorld
        let one: PostgresEngine
        let two: PostgresEngine

        func fill(_ keys: [String], topic: Topic = .events, nowMs: Int64 = 0) async throws {
            try await one.run(.write) { connection in
                for key in keys {
                    try PostgresTransaction(connection: connection).enqueue(
                        OutboxRecord(topic, key: key, value: [1], contentType: .json), nowMs: nowMs)
                }
            }
        }

        func claim(_ engine: PostgresEngine, _ owner: String, limit: Int = 500) async throws -> [OutboxRow] {
            try await engine.outbox.claimOutbox(
                owner: owner, limit: limit, leaseMs: PostgresLeaseTests.leaseMs, nowMs: 0)
        }

        /// As if the owner had not renewed for the time of a lease.
        func endLease(of owner: String) async throws {
            try await world.server.sql(
                """
                UPDATE outbox_lanes SET until_ms = 1 WHERE owner = '\(owner)'; \
                UPDATE outbox_owners SET until_ms = 1 WHERE owner = '\(owner)'
                """, in: world.database)
        }

        /// Returns what the owner gets once it is due for lanes again.
        func claimed(_ engine: PostgresEngine, _ owner: String) async throws -> [OutboxRow] {
            while true {
                let rows = try await claim(engine, owner)
                if !rows.isEmpty { return rows }
                try await Task.sleep(for: .milliseconds(50))
            }
        }

        func count() async throws -> String {
            try await world.server.sql("SELECT count(*) FROM outbox", in: world.database)
        }
    }

    @Test(
        "rows are claimed oldest first, once, until the lease of their lanes ends; then another gets all that are left")
    func untilLeaseEnds() async throws {
        try await with { world, stores in
            try await stores.fill(["a", "b", "c", "d"])
            #expect(try await stores.claim(stores.one, "one", limit: 2).map(\.key) == ["a", "b"])
            #expect(try await stores.claim(stores.one, "one").map(\.key) == ["c", "d"])
            #expect(try await stores.claim(stores.two, "two").isEmpty)
            try await stores.endLease(of: "one")
            #expect(try await stores.claimed(stores.two, "two").map(\.key) == ["a", "b", "c", "d"])
        }
    }

    @Test("only the owner gives back")
    func givesBack() async throws {
        try await with { _, stores in
            try await stores.fill(["a", "b"])
            let ids = try await stores.claim(stores.one, "one").map(\.id)
            try await stores.two.outbox.releaseOutbox(ids, owner: "two")
            try await stores.one.outbox.releaseOutbox(ids, owner: "two")
            #expect(try await stores.claim(stores.one, "one").isEmpty)
            try await stores.one.outbox.releaseOutbox([ids[1]], owner: "one")
            #expect(try await stores.claim(stores.one, "one").map(\.id) == [ids[1]])
        }
    }

    @Test("what was published is deleted although its lease has ended, also when another holds it: it is on Kafka")
    func publishedLate() async throws {
        try await with { _, stores in
            try await stores.fill(["a", "b", "c"])
            let ids = try await stores.claim(stores.one, "one").map(\.id)
            try await stores.endLease(of: "one")
            #expect(try await stores.claimed(stores.two, "two").map(\.id) == ids)
            try await stores.one.outbox.deleteOutbox([ids[0]], owner: "one")
            #expect(try await stores.count() == "2")
            try await stores.two.outbox.deleteOutbox(ids, owner: "two")
            #expect(try await stores.count() == "0")
        }
    }

    @Test("a scan takes of each partition of Kafka what it has room for, and names what it left")
    func scans() async throws {
        try await with { _, stores in
            try await stores.fill(["a1", "b1", "a1", "a2", "b2", "a3"])
            let (a, b) = (OutboxPartition(.events, 1), OutboxPartition(.events, 2))
            func claim(
                _ limit: Int, from: Int64 = 1, _ room: [OutboxPartition: Int], else roomElse: Int = 0
            ) async throws -> ([String], OutboxScan) {
                let scan = OutboxScan(ids: from...Int64.max, limit: limit, room: room, roomElse: roomElse) {
                    ["a": a, "b": b][String($1.prefix(1))] ?? OutboxPartition($0, 0)
                }
                let (rows, ended) = try await stores.one.outbox.claimOutbox(
                    scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
                return (rows.map(\.key), ended)
            }
            let (first, ended) = try await claim(10, [a: 1], else: 1)
            #expect(first == ["a1", "b1"] && !ended.isFull)
            let last = try #require(ended.last)
            #expect(ended.left == [a: last - 3, b: last - 1])
            let (second, full) = try await claim(2, from: last - 3, [a: 5])
            #expect(second == ["a1", "a2"] && full.isFull)
            let (third, _) = try await claim(10, from: last - 1, [a: 5, b: 5])
            #expect(third == ["b2", "a3"])
        }
    }

    @Test("a row does not overtake an earlier one of its key that another owner holds")
    func keepsOrder() async throws {
        try await with { _, stores in
            try await stores.fill(["a", "b"])
            #expect(try await stores.claim(stores.one, "one", limit: 1).map(\.key) == ["a"])
            try await stores.fill(["a", "c"])
            #expect(try await stores.claim(stores.two, "two").isEmpty)
            try await stores.endLease(of: "one")
            let later = try await stores.claimed(stores.two, "two")
            #expect(later.map(\.id) == later.map(\.id).sorted() && later.count { $0.key == "a" } == 2)
        }
    }

    @Test("four relays at once share the rows without a double")
    func fourRelays() async throws {
        try await with { _, stores in
            try await stores.fill((0..<200).map { "k\($0)" })
            var all: [Int64] = []
            while all.count < 200 {
                all += try await withThrowingTaskGroup(of: [Int64].self) { group in
                    for owner in 0..<4 {
                        group.addTask {
                            let rows = try await stores.claim(
                                owner < 2 ? stores.one : stores.two, "o\(owner)", limit: 7)
                            // A lane changes hands when nothing of it is held.
                            try await stores.one.outbox.deleteOutbox(rows.map(\.id), owner: "o\(owner)")
                            try await stores.two.outbox.deleteOutbox(rows.map(\.id), owner: "o\(owner)")
                            return rows.map(\.id)
                        }
                    }
                    return try await group.reduce(into: []) { $0 += $1 }
                }
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(all.count == 200 && Set(all).count == 200)
        }
    }

    @Test("the state counts rows and dates the oldest dispatch")
    func state() async throws {
        try await with { world, stores in
            try await stores.fill(["a"])
            try await stores.fill(["b", "c"], topic: .challenges, nowMs: 77)
            _ = try await stores.claim(stores.one, "one")
            // It is counted four times a second at most.
            try await world.until { try await stores.one.outbox.outboxState() == (3, 77) }
            try await world.server.sql("DELETE FROM outbox", in: world.database)
            try await world.until { try await stores.one.outbox.outboxState() == (0, nil) }
        }
    }

    @Test("a commit with rows is signalled, to whoever reads last; one without is not")
    func signals() async throws {
        try await with { world, stores in
            let former = stores.one.outbox.outboxSignal
            let signals = stores.one.outbox.outboxSignal
            #expect(await former.reduce(0) { count, _ in count + 1 } == 1)
            var iterator = signals.makeAsyncIterator()
            #expect(await iterator.next(isolation: #isolation) != nil)
            try await world.insert(1)
            try await stores.fill(["a"])
            #expect(await iterator.next(isolation: #isolation) != nil)
            await stores.one.close()
            #expect(await iterator.next(isolation: #isolation) == nil)
        }
    }

    @Test("event ids are stable, and sequences ascend over the Producers of one process")
    func sequences() async throws {
        try await withPostgresStores(2) { stores in
            let world = try await World(stores)
            let factor = try await world.factor()
            let challenge = try await world.challenge()
            _ = try await world.store.answer(world.answer(challenge.sid, factor.sid), nowMs: World.t0)
            let events = try await world.drain().events
            #expect(
                events.map(\.id) == [
                    "\(factor.sid)/factor.created", "\(factor.sid)/factor.verified",
                    "\(challenge.sid)/challenge.created", "\(challenge.sid)/challenge.approved",
                ])
            let sequences = try events.map { try #require(UInt64($0.sequence)) }
            #expect(sequences == sequences.sorted() && Set(sequences).count == events.count)
        }
    }

    @Test("after close everything is refused, and what was under way is kept")
    func closed() async throws {
        try await withPostgresStores(1) { stores in
            let world = try await World(stores)
            _ = try await world.factor()
            async let last = world.challenge()
            await world.store.close()
            _ = try? await last
            #expect(await storeError { _ = try await world.challenge() } == .closed)
            #expect(
                await storeError { _ = try await world.store.service(world.service, account: world.account) } == .closed
            )
            #expect(
                await storeError {
                    _ = try await world.store.outbox.claimOutbox(owner: "o", limit: 1, leaseMs: 1, nowMs: 0)
                } != nil)
            await world.store.close()
        }
    }
}
