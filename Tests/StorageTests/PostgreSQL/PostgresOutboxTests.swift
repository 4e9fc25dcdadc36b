import ChallengeModel
import Challenges
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Storage

@Suite("PostgreSQL: the outbox of several Producers", .postgres, .timeLimit(.minutes(10)))
struct PostgresOutboxTests {
    private static let leaseMs: Int64 = 60_000

    private final class Published: Sendable {
        let rows = Mutex<[(key: String, value: Int, owner: Int)]>([])
    }

    private func fill(_ world: PostgresWorld, _ records: [(key: String, value: String)]) async throws {
        try await world.engine.run(.write) { connection in
            for (key, value) in records {
                try PostgresTransaction(connection: connection).enqueue(
                    OutboxRecord(.events, key: key, value: Array(value.utf8), contentType: .json), nowMs: 0)
            }
        }
    }

    private func claim(
        _ world: PostgresWorld, _ owner: String, limit: Int = 500, leaseMs: Int64 = leaseMs
    ) async throws -> [OutboxRow] {
        try await world.engine.outbox.claimOutbox(owner: owner, limit: limit, leaseMs: leaseMs, nowMs: 0)
    }

    /// Runs `body` while another transaction has drawn the id of a row with the key `late` and has not ended. The row is
    /// visible when this returns.
    private func whileRowIsLate(_ world: PostgresWorld, _ body: () async throws -> Void) async throws {
        let isDrawn = AsyncStream.makeStream(of: Void.self)
        let mayCommit = DispatchSemaphore(value: 0)
        async let late: Void = world.engine.run(.write) { connection in
            try PostgresTransaction(connection: connection).enqueue(
                OutboxRecord(.events, key: "late", value: [1], contentType: .json), nowMs: 0)
            _ = try connection.integer("SELECT 1", [])
            isDrawn.continuation.yield()
            mayCommit.wait()
        }
        for await _ in isDrawn.stream { break }
        do {
            defer { mayCommit.signal() }
            try await body()
        }
        try await late
    }

    /// A second engine on the same database, as another Producer has.
    private func other(_ world: PostgresWorld) throws -> PostgresEngine {
        try PostgresEngine(world.engine.pool.settings, logger: PostgresWorld.quiet)
    }

    @Test("every lane is some key's, and a key's lane is the same everywhere")
    func lanes() {
        #expect(Set((0..<2000).map { OutboxLanes.lane(of: "YC\($0)") }).count == OutboxLanes.count)
        // Of rows that are stored: it may never change.
        #expect(["", "a", "YC0300000000000000000000000000000000"].map(OutboxLanes.lane(of:)) == Self.known)
    }
    private static let known = [33, 16, 46]

    @Test("rows are handed out in their order, once, and again when they were given back")
    func once() async throws {
        try await PostgresWorld.with { world in
            try await fill(world, (0..<10).map { ("k\($0 % 3)", "\($0)") })
            let first = try await claim(world, "one", limit: 4)
            let rest = try await claim(world, "one")
            #expect((first + rest).map { String(decoding: $0.value, as: UTF8.self) } == (0..<10).map { "\($0)" })
            #expect(try await claim(world, "one").isEmpty)
            try await world.engine.outbox.releaseOutbox([rest[0].id], owner: "one")
            #expect(try await claim(world, "one") == [rest[0]])
            #expect(try await world.engine.outbox.outboxState().rows == 10)
            try await world.engine.outbox.deleteOutbox((first + rest).map(\.id), owner: "one")
            #expect(try await world.server.sql("SELECT count(*) FROM outbox", in: world.database) == "0")
        }
    }

    @Test(
        "a row that becomes visible behind a later one is found, and nothing is handed out before an earlier row of its key"
    )
    func lateRows() async throws {
        try await PostgresWorld.with { world in
            var scan = OutboxScan(limit: 100)
            try await whileRowIsLate(world) {
                for round in 0..<5 {
                    try await fill(world, [("early", "\(round)")])
                    let (rows, ended) = try await world.engine.outbox.claimOutbox(
                        scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
                    #expect(rows.map(\.key) == ["early"])
                    // As the relay does: it believes that nothing comes below.
                    scan = OutboxScan(ids: (try #require(ended.last) + 1)...Int64.max, limit: 100)
                }
            }
            let (rows, _) = try await world.engine.outbox.claimOutbox(
                scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
            #expect(rows.map(\.key) == ["late"])
        }
    }

    @Test("a row of a later transaction that draws the lower id is found, whatever has ended before it")
    func lateRowsOfLaterTransactions() async throws {
        try await PostgresWorld.with(connections: 6) { world in
            let isBegun = AsyncStream.makeStream(of: Void.self)
            let mayDraw = DispatchSemaphore(value: 0)
            let early = Task {
                try await world.engine.run(.write) { connection in
                    // The server gives the transaction its number.
                    _ = try connection.integer("SELECT 1", [])
                    isBegun.continuation.yield()
                    mayDraw.wait()
                    try PostgresTransaction(connection: connection).enqueue(
                        OutboxRecord(.events, key: "early", value: [1], contentType: .json), nowMs: 0)
                }
            }
            for await _ in isBegun.stream { break }
            var scan = OutboxScan(limit: 100)
            try await whileRowIsLate(world) {
                mayDraw.signal()
                try await early.value
                for round in 0..<5 {
                    if round > 0 { try await fill(world, [("early", "\(round)")]) }
                    let (rows, ended) = try await world.engine.outbox.claimOutbox(
                        scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
                    #expect(rows.map(\.key) == ["early"])
                    try await world.engine.outbox.deleteOutbox(rows.map(\.id), owner: "one")
                    scan = OutboxScan(ids: (try #require(ended.last) + 1)...Int64.max, limit: 100)
                }
            }
            let (rows, _) = try await world.engine.outbox.claimOutbox(
                scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
            #expect(rows.map(\.key) == ["late"])
        }
    }

    @Test("a late row that a claim has seen before it looked at more rows is handed out")
    func lateRowsOfFirstLooks() async throws {
        try await PostgresWorld.with { world in
            var ended = OutboxScan(limit: 100)
            try await whileRowIsLate(world) {
                try await fill(world, [("early", "")])
                let (rows, scan) = try await world.engine.outbox.claimOutbox(
                    OutboxScan(limit: 100), owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
                try await world.engine.outbox.deleteOutbox(rows.map(\.id), owner: "one")
                ended = scan
                try await fill(world, (0..<20).map { ("busy", "\($0)") })
            }
            // Of the ten rows that it looks at first, it may take two.
            let busy = OutboxPartition(.events, 1)
            let scan = OutboxScan(
                ids: (try #require(ended.last) + 1)...Int64.max, limit: 10, room: [busy: 1], roomElse: 10
            ) { topic, key in key == "busy" ? busy : OutboxPartition(topic, 0) }
            let (taken, _) = try await world.engine.outbox.claimOutbox(
                scan, owner: "one", leaseMs: Self.leaseMs, nowMs: 0)
            #expect(taken.map(\.key) == ["late", "busy"])
        }
    }

    @Test("a lease that a clock far ahead has given binds nobody")
    func leasesOfAnotherClock() async throws {
        try await PostgresWorld.with { world in
            try await fill(world, [("k", "")])
            let later = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000"
            try await world.server.sql(
                "INSERT INTO outbox_owners (owner, until_ms) VALUES ('dead', \(later)); "
                    + "UPDATE outbox_lanes SET owner = 'dead', until_ms = \(later)", in: world.database)
            #expect(try await claim(world, "one").map(\.key) == ["k"])
            #expect(
                try await world.server.sql(
                    "SELECT count(*) FROM outbox_lanes WHERE owner = 'one'", in: world.database) == "48")
        }
    }

    @Test("a relay that comes takes its share, one that goes leaves it at once, and one that dies when its lease ends")
    func shares() async throws {
        try await PostgresWorld.with { world in
            let second = try other(world)
            func owned() async throws -> [Int] {
                var counts: [Int] = []
                for owner in ["one", "two"] {
                    let count = try await world.server.sql(
                        "SELECT count(*) FROM outbox_lanes WHERE owner = '\(owner)'", in: world.database)
                    counts.append(Int(count) ?? -1)
                }
                return counts
            }
            func keep(_ engine: PostgresEngine, _ owner: String, until holds: ([Int]) -> Bool) async throws {
                while true {
                    try await world.engine.outbox.keepOutbox(owner: "one", leaseMs: Self.leaseMs)
                    try await engine.outbox.keepOutbox(owner: owner, leaseMs: Self.leaseMs)
                    if holds(try await owned()) { return }
                    try await Task.sleep(for: .milliseconds(50))
                }
            }
            _ = try await claim(world, "one")
            #expect(try await owned() == [48, 0])
            try await keep(second, "two") { $0 == [24, 24] }
            try await second.outbox.leaveOutbox(owner: "two")
            #expect(try await owned() == [24, 0])
            try await keep(world.engine, "one") { $0 == [48, 0] }
            // Dies: nobody renews.
            try await keep(second, "two") { $0 == [24, 24] }
            try await world.server.sql("UPDATE outbox_lanes SET until_ms = 1 WHERE owner = 'two'", in: world.database)
            try await world.server.sql("UPDATE outbox_owners SET until_ms = 1 WHERE owner = 'two'", in: world.database)
            try await keep(world.engine, "one") { $0 == [48, 0] }
            // What it believed to be its own is not: the server's clock says so.
            try await fill(world, (0..<20).map { ("k\($0)", "") })
            #expect(try await claim(world, "one").count == 20)
            await second.close()
        }
    }

    @Test("a lane is given back only when nothing of it is held")
    func drained() async throws {
        try await PostgresWorld.with { world in
            let second = try other(world)
            try await fill(world, (0..<500).map { ("k\($0)", "") })
            let held = try await claim(world, "one")
            #expect(held.count == 500)
            for _ in 0..<10 {
                try await second.outbox.keepOutbox(owner: "two", leaseMs: Self.leaseMs)
                try await world.engine.outbox.keepOutbox(owner: "one", leaseMs: Self.leaseMs)
                try await Task.sleep(for: .milliseconds(300))
            }
            #expect(try await claim(world, "one").isEmpty)
            #expect(
                try await second.outbox.claimOutbox(owner: "two", limit: 500, leaseMs: Self.leaseMs, nowMs: 0).isEmpty)
            try await world.engine.outbox.deleteOutbox(held.map(\.id), owner: "one")
            try await fill(world, (0..<500).map { ("k\($0)", "") })
            var seen: [Int64] = []
            while seen.count < 500 {
                seen += try await claim(world, "one").map(\.id)
                seen += try await second.outbox.claimOutbox(owner: "two", limit: 500, leaseMs: Self.leaseMs, nowMs: 0)
                    .map(\.id)
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(Set(seen).count == 500)
            await second.close()
        }
    }

    @Test("three Producers: every row leaves once, in the order of its key, also when one of them comes and goes")
    func threeOwners() async throws {
        let keys = 40
        let perKey = 60
        try await PostgresWorld.with(connections: 6) { world in
            let engines = [world.engine, try other(world), try other(world)]
            for key in 0..<keys {
                try await world.server.sql("INSERT INTO things (id) VALUES (\(key))", in: world.database)
            }
            let published = Published()
            try await withThrowingTaskGroup { group in
                for key in 0..<keys {
                    let engine = engines[key % 3]
                    group.addTask {
                        for value in 0..<perKey {
                            try await engine.run(.write) { connection in
                                // What a decision does: the entity's row first, the outbox after it.
                                _ = try connection.row(
                                    "SELECT id FROM things WHERE id = ? FOR NO KEY UPDATE", [Int64(key)])
                                try PostgresTransaction(connection: connection).enqueue(
                                    OutboxRecord(
                                        .events, key: "k\(key)", value: Array("\(value)".utf8), contentType: .json),
                                    nowMs: 0)
                            }
                        }
                    }
                }
                for (index, engine) in engines.enumerated() {
                    group.addTask {
                        var owner = "relay-\(index)-0"
                        var generation = 0
                        while true {
                            let rows = try await engine.outbox.claimOutbox(
                                owner: owner, limit: 50, leaseMs: Self.leaseMs, nowMs: 0)
                            published.rows.withLock { published in
                                for row in rows {
                                    published.append(
                                        (row.key, Int(String(decoding: row.value, as: UTF8.self)) ?? -1, index))
                                }
                            }
                            try await engine.outbox.deleteOutbox(rows.map(\.id), owner: owner)
                            if published.rows.withLock({ $0.count }) >= keys * perKey { return }
                            if index == 2, generation < 3,
                                published.rows.withLock({ $0.count }) > (generation + 1) * 500
                            {
                                // A clean stop and a new start.
                                generation += 1
                                try await engine.outbox.leaveOutbox(owner: owner)
                                owner = "relay-\(index)-\(generation)"
                            }
                            if rows.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let all = published.rows.withLock { $0 }
            #expect(all.count == keys * perKey)
            for (key, rows) in Dictionary(grouping: all, by: \.key) {
                #expect(rows.map(\.value) == Array(0..<perKey), "\(key)")
            }
            #expect(try await world.server.sql("SELECT count(*) FROM outbox", in: world.database) == "0")
            for engine in engines.dropFirst() { await engine.close() }
            #expect(
                try await world.server.sql(
                    "SELECT count(*) FROM outbox_lanes WHERE owner LIKE 'relay-1%'", in: world.database) == "0",
                "a clean stop hands over")
        }
    }
}
