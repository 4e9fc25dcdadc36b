import Challenges
import TestSupport
import Testing

@testable import Storage

@Suite("PostgreSQL: statements and transactions", .postgres, .timeLimit(.minutes(5)))
struct PostgresConnectionTests {
    @Test("values come back as they went, with NULL beside each")
    func values() async throws {
        try await PostgresWorld.with { world in
            let bytes = (0...255).map { UInt8($0) }
            let (text, names) = ("snö 🎿 'quoted' ?", ["", "z"])
            try await world.engine.run(.write) { connection in
                let sql = "INSERT INTO things (id, flag, name, body) VALUES (?, ?, ?, ?)"
                try connection.run(sql, [Int64.min, 1, text, blob(bytes)])
                try connection.run(sql, [Int64.max, nil, nil, nil])
                try connection.run(sql, [7, 0, "", blob([])])
            }
            let rows = try await world.engine.run(.read) { connection in
                try connection.rows("SELECT id, flag, name, body FROM things ORDER BY id", []).map {
                    ($0.int64(0), $0.optionalInt64(1), $0.optionalText(2), $0.optionalBytes(3))
                }
            }
            #expect(rows.map(\.0) == [Int64.min, 7, Int64.max])
            #expect(rows.map(\.1) == [1, 0, nil])
            #expect(rows.map(\.2) == [text, names[0], nil])
            #expect(rows.map(\.3) == [bytes, [], nil])
            let sums = try await world.engine.run(.read) { connection in
                let row = try connection.row(
                    """
                    SELECT sum(id) FILTER (WHERE id < 8), sum(id) FILTER (WHERE id > 8), count(*), max(flag) > 0,
                    12340000::numeric, -10000.5::numeric, 0::numeric FROM things
                    """, [])
                return (0..<7).map { row!.int64($0) }
            }
            #expect(sums == [Int64.min + 7, .max, 3, 1, 12_340_000, -10_000, 0])
        }
    }

    @Test("? becomes $n outside of texts")
    func placeholders() {
        #expect(
            PostgresStatements.numbered("a = ? AND b = '?''?' AND c IN (?, ?)")
                == "a = $1 AND b = '?''?' AND c IN ($2, $3)")
    }

    @Test("a write that waits is seen by the next read, and by nobody else before the commit")
    func deferredWrites() async throws {
        try await PostgresWorld.with { world in
            let seen = try await world.engine.run(.write) { connection in
                try connection.run("INSERT INTO things (id) VALUES (?)", [1])
                let mine = try connection.integer("SELECT count(*) FROM things", [])
                let changed = try connection.changes("UPDATE things SET name = ? WHERE id = ?", ["x", 1])
                return (mine, Int64(changed), Int64(try connection.changes("DELETE FROM things WHERE id = ?", [2])))
            }
            #expect(seen == (1, 1, 0))
            #expect(try await world.count() == 1)
        }
    }

    @Test("what a body throws undoes its writes, and the connection is good for the next")
    func refusal() async throws {
        try await PostgresWorld.with(connections: 1) { world in
            await #expect(throws: StoreError.busy) {
                try await world.engine.run(.write) { connection in
                    try connection.run("INSERT INTO things (id) VALUES (?)", [1])
                    _ = try connection.integer("SELECT count(*) FROM things", [])
                    throw StoreError.busy
                }
            }
            try await world.insert(2)
            #expect(try await world.server.sql("SELECT id FROM things", in: world.database) == "2")
        }
    }

    @Test(
        "a write that fails with the COMMIT leaves nothing, and is the transaction's failure, also when it was caught")
    func failingWrite() async throws {
        try await PostgresWorld.with(connections: 1) { world in
            for isRead in [false, true] {
                await #expect(throws: StoreError.self) {
                    try await world.engine.run(.write) { connection in
                        try connection.run("INSERT INTO things (id) VALUES (?)", [1])
                        try connection.run("INSERT INTO things (id, flag) VALUES (2, ?)", [100_000])
                        if isRead { _ = try? connection.integer("SELECT count(*) FROM things", []) }
                    }
                }
            }
            #expect(try await world.count() == 0)
            try await world.insert(3)
            #expect(try await world.count() == 1)
        }
    }

    @Test("reads that are named together are one round trip, kept until a write")
    func prefetch() async throws {
        try await PostgresWorld.with { world in
            try await world.insert(1)
            let found = try await world.engine.run(.write) { connection in
                let (count, name) = ("SELECT count(*) FROM things", "SELECT name FROM things WHERE id = ?")
                try connection.prefetch {
                    _ = try? connection.integer(count, [])
                    _ = try? connection.row(name, [1])
                    _ = try? connection.row(name, [1])
                }
                // Behind our back.
                try world.server.blockingSQL("INSERT INTO things (id) VALUES (9)", in: world.database)
                let kept = (try connection.integer(count, []), try connection.row(name, [1])?.text(0))
                try connection.run("UPDATE things SET name = ? WHERE id = 9", ["y"])
                return (kept.0, kept.1, try connection.integer(count, []))
            }
            #expect(found == (1, "x", 2))
        }
    }

    @Test("a read sees one state, however many statements it has")
    func snapshot() async throws {
        try await PostgresWorld.with(connections: 1) { world in
            for round in 1...3 {
                let counts = try await world.engine.run(.read) { connection in
                    let first = try connection.integer("SELECT count(*) FROM things", [])
                    try world.server.blockingSQL(
                        "INSERT INTO things (id) SELECT coalesce(max(id), 0) + 1 FROM things", in: world.database)
                    return (first, try connection.integer("SELECT count(*) + 0 FROM things", []))
                }
                #expect(counts.0 == counts.1, "round \(round)")
            }
        }
    }

    @Test("U+0000 is refused before it is sent")
    func nul() async throws {
        try await PostgresWorld.with { world in
            await #expect(throws: StoreError.nulInText) {
                try await world.engine.run(.write) {
                    try $0.run("INSERT INTO things (id, name) VALUES (1, ?)", ["a\u{0}b"])
                }
            }
            let count = try await world.count()
            #expect(count == 0)
        }
    }

    @Test("more statements than a connection prepares are carried out all the same")
    func manyStatements() async throws {
        try await PostgresWorld.with(connections: 1) { world in
            let sum = try await world.engine.run(.read) { connection in
                try (1...PostgresStatements.bound + 50).reduce(Int64(0)) {
                    $0 + (try connection.integer("SELECT ?::bigint + \($1)", [$1]))
                }
            }
            let count = Int64(PostgresStatements.bound + 50)
            #expect(sum == count * (count + 1))
            let prepared = try await world.engine.run(.read) {
                try $0.integer("SELECT count(*) FROM pg_prepared_statements", [])
            }
            #expect(prepared <= Int64(PostgresStatements.bound))
        }
    }

    @Test("200 transactions of ten callers on four connections are all there")
    func manyCallers() async throws {
        try await PostgresWorld.with { world in
            try await withThrowingTaskGroup { group in
                for caller in 0..<10 {
                    group.addTask { for step in 0..<20 { try await world.insert(Int64(caller * 20 + step)) } }
                }
                try await group.waitForAll()
            }
            #expect(try await world.count() == 200)
            #expect(world.engine.commits >= 200)
        }
    }

    @Test("a closed store refuses")
    func closed() async throws {
        let engine = try await PostgresWorld.with { $0.engine }
        await #expect(throws: StoreError.closed) { try await engine.run(.read) { _ in } }
    }
}
