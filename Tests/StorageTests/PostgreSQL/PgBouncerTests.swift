import Challenges
import Synchronization
import TestSupport
import Testing

@testable import Storage

/// Behind PgBouncer in transaction mode, of the version that this machine has: Debian 12's keeps no prepared
/// statements.
@Suite(
    "PostgreSQL behind PgBouncer", .postgres, .timeLimit(.minutes(20)),
    .enabled(if: PgBouncer.executable != nil, "needs PgBouncer: scripts/install --tests"))
struct PgBouncerTests {
    @Test(
        "three Producers with eight connections each conform over four of the pooler:", arguments: ConformanceCase.all)
    func conforms(to promise: ConformanceCase) async throws {
        let pooler = try await PgBouncer(PostgresServer.shared(), poolSize: 4)
        try await withPostgresStores(3, limits: promise.limits, pooler: pooler, connections: 8) {
            try await promise.check(World($0))
        }
    }

    @Test("a pooler is noticed, and nothing is prepared by name; without one statements are prepared once")
    func notices() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        let pooler = try await PgBouncer(server, poolSize: 1)
        func prepared(_ url: String) async throws -> Int64 {
            var settings = try PostgresSettings(url: url)
            settings.connections = 1
            let engine = try PostgresEngine(settings, logger: quiet)
            try await engine.untilReached(name: "test", within: .seconds(30), logger: quiet)
            for _ in 0..<3 { try await engine.run(.read) { _ = try $0.integer("SELECT count(*) FROM accounts", []) } }
            let count = try await engine.run(.read) {
                try $0.integer("SELECT count(*) FROM pg_prepared_statements", [])
            }
            await engine.close()
            return count
        }
        #expect(try await prepared(pooler.url(name)) == 0)
        #expect(try await prepared(server.url(name)) > 0)
    }

    @Test("writers of several Producers share the pooler's sessions, and every row is there once")
    func shared() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        try await server.sql("CREATE TABLE things (id bigint PRIMARY KEY, round bigint)", in: name)
        let pooler = try await PgBouncer(server, poolSize: 3)
        let engines = try await withThrowingTaskGroup(of: PostgresEngine.self) { tasks in
            for _ in 0..<3 {
                tasks.addTask {
                    var settings = try PostgresSettings(url: pooler.url(name))
                    settings.connections = 6
                    settings.acquireDeadline = .seconds(60)
                    settings.requestDeadline = .seconds(60)
                    let engine = try PostgresEngine(settings, logger: quiet)
                    try await engine.untilReached(name: "test", within: .seconds(30), logger: quiet)
                    return engine
                }
            }
            return try await tasks.reduce(into: []) { $0.append($1) }
        }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for writer in 0..<18 {
                tasks.addTask {
                    for round in 0..<20 {
                        try await engines[writer % 3].run(.write) { connection in
                            // Different texts, so that each session meets statements that others have used.
                            _ = try connection.integer("SELECT \(round) + count(*) FROM accounts", [])
                            try connection.run(
                                "INSERT INTO things (id, round) VALUES (?, ?)", [writer * 100 + round, round])
                        }
                    }
                }
            }
            try await tasks.waitForAll()
        }
        #expect(try await server.sql("SELECT count(*), count(DISTINCT id) FROM things", in: name) == "360|360")
        for engine in engines { await engine.close() }
    }
}
