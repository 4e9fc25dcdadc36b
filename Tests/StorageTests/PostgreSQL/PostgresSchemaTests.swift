import ChallengeModel
import Foundation
import TestSupport
import Testing

@testable import Challenges
@testable import Storage

@Suite("Schema on PostgreSQL", .postgres, .timeLimit(.minutes(5)))
struct PostgresSchemaTests {
    private func engine(_ url: String) async throws -> PostgresEngine {
        var settings = try PostgresSettings(url: url)
        settings.connections = 2
        let engine = try PostgresEngine(settings, logger: quiet)
        try await engine.untilReached(name: "test", within: .seconds(30), logger: quiet)
        return engine
    }

    @Test("several processes that migrate at once do each step once")
    func together() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        let engines = [try await engine(server.url(name)), try await engine(server.url(name))]
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for engine in engines { tasks.addTask { try await engine.migrate() } }
            try await tasks.waitForAll()
        }
        let steps = try await server.sql("SELECT number, state FROM schema_steps ORDER BY number", in: name)
        #expect(steps == "10|done\n11|done\n12|done")
        #expect(try await engines[0].migrate().isEmpty)
        for engine in engines { await engine.close() }
    }

    @Test("a schema that this version does not know, and a database without one, are refused with what to do")
    func unknown() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        let settings = try PostgresSettings(url: server.url(name))
        func refusal() async -> StoreError? {
            await storeError { _ = try await ChallengeStore.postgres(settings, keys: TestKeys.both, logger: quiet) }
        }
        guard case .failed(let empty) = await refusal() else { return #expect(Bool(false)) }
        #expect(empty.contains("beckon migrate up"))
        let engine = try await engine(server.url(name))
        try await engine.migrate()
        try await server.sql("INSERT INTO schema_steps VALUES (13, 'of later', 'done', now(), now())", in: name)
        guard case .failed(let later) = await refusal() else { return #expect(Bool(false)) }
        #expect(later.contains("schema 13") && later.contains("serves 12"))
        await #expect(throws: StoreError.self) { try await engine.migrate() }
        await engine.close()
    }

    @Test(
        "a role that may not change tables serves, makes days and drops them; another's day with a pending challenge stays"
    )
    func roles() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        try await server.sql(
            """
            CREATE ROLE owner_\(name) NOLOGIN;
            CREATE ROLE migrate_\(name) LOGIN IN ROLE owner_\(name);
            CREATE ROLE app_\(name) LOGIN;
            CREATE SCHEMA beckon AUTHORIZATION owner_\(name);
            ALTER ROLE migrate_\(name) SET role = owner_\(name);
            ALTER ROLE migrate_\(name) SET search_path = beckon;
            ALTER ROLE app_\(name) SET search_path = beckon;
            GRANT USAGE ON SCHEMA beckon TO app_\(name);
            ALTER DEFAULT PRIVILEGES FOR ROLE owner_\(name) IN SCHEMA beckon
                GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app_\(name);
            ALTER DEFAULT PRIVILEGES FOR ROLE owner_\(name) IN SCHEMA beckon GRANT USAGE ON SEQUENCES TO app_\(name);
            """, in: name)
        let owner = try await engine(server.url(name, user: "migrate_\(name)"))
        try await owner.migrate()
        await owner.close()
        let store = try await ChallengeStore.postgres(
            PostgresSettings(url: server.url(name, user: "app_\(name)")), keys: TestKeys.both, limits: .none,
            logger: quiet)
        func turn(_ nowMs: Int64, untilMs: Int64 = 0) async throws {
            try await store.engine.write { rows in
                try rows.turn(Days(nowMs: nowMs, challengesUntilMs: untilMs, trafficUntilMs: 0))
            }
        }
        try await turn(World.t0)
        let world = try await World(store)
        _ = try await world.factor()
        let challenge = try await world.challenge()
        // Nothing is written to a day that was not made.
        let unmade = World.t0 + 40 * StorePolicy.dayMs
        #expect(
            await storeError { _ = try await world.challenge(expiresAtMs: unmade + 300_000, nowMs: unmade) } != nil)
        let day = World.t0 / StorePolicy.dayMs * StorePolicy.dayMs
        try await turn(World.t0, untilMs: day + 2 * StorePolicy.dayMs)
        #expect(try await world.stored(challenge.sid) != nil, "it is pending")
        _ = try await store.cancelChallenge(challenge.sid, nowMs: World.t0 + 1)
        try await turn(World.t0 + 3 * StorePolicy.dayMs, untilMs: day + 2 * StorePolicy.dayMs)
        #expect(try await world.stored(challenge.sid) == nil)
        let engine = try await engine(server.url(name, user: "app_\(name)"))
        await #expect(throws: (any Error).self) {
            try await engine.run(.write) { try $0.run("DROP TABLE challenges", [PostgresValue]()) }
        }
        await engine.close()
        await store.close()
    }
}
