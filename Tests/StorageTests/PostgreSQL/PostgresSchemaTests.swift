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
        #expect(steps == "10|done\n11|done\n12|done\n13|done\n14|done\n15|done")
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
        try await server.sql("INSERT INTO schema_steps VALUES (16, 'of later', 'done', now(), now())", in: name)
        guard case .failed(let later) = await refusal() else { return #expect(Bool(false)) }
        #expect(later.contains("schema 16") && later.contains("serves 14 to 15"))
        await #expect(throws: StoreError.self) { try await engine.migrate() }
        try await server.sql("DELETE FROM schema_steps WHERE number > 13", in: name)
        guard case .failed(let earlier) = await refusal() else { return #expect(Bool(false)) }
        #expect(earlier.contains("schema 13") && earlier.contains("serves 14 to 15"))
        await engine.close()
    }

    @Test("a version serves the schema before its last step too, so that the step can be done while both versions run")
    func range() {
        let numbers = PostgresSchema.steps.map(\.number)
        #expect(numbers == numbers.sorted() && numbers.last == PostgresSchema.served.upperBound)
        #expect(PostgresSchema.served.contains(numbers[numbers.count - 2]))
    }

    @Test("a store on the schema before alerts keeps none, refuses a debugger, and keeps both once the step is done")
    func alertsArrive() async throws {
        let (server, name) = try await MigratedDatabase.shared.next(step: 14)
        let settings = try PostgresSettings(url: server.url(name))
        let store = try await ChallengeStore.postgres(settings, keys: TestKeys.both, limits: .none, logger: quiet)
        let world = try await World(store)
        func refuse(_ parameter: String) async throws -> Int {
            try await store.reportRefusedURL(
                parameter, digest: [1], account: world.account, service: world.service, nowMs: World.t0)
            return try await store.alerts(AlertFilter(account: world.account), page: PageRequest()).items.count
        }
        func setDebugger() async throws {
            _ = try await store.setDebugger(url: "https://a.example/", account: world.account, nowMs: World.t0)
        }
        #expect(try await refuse("before") == 0)
        guard case .failed(let advice) = await storeError({ try await setDebugger() }) else {
            return #expect(Bool(false))
        }
        #expect(advice.contains("beckon migrate up"))
        let engine = try await engine(server.url(name))
        #expect(try await engine.migrate().map(\.number) == [15])
        await engine.close()
        #expect(try await refuse("after") == 1)
        try await setDebugger()
        await store.close()
    }

    @Test("steps are done up to the one that is named, and the rest later")
    func parts() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        let migrations = try await PostgresMigrations(PostgresSettings(url: server.url(name)), logger: quiet)
        #expect(try await migrations.run(through: 11).map(\.number) == [10, 11])
        #expect(try await migrations.steps().map(\.isDone) == [true, true, false, false, false, false])
        let unknown = await storeError { _ = try await migrations.run(through: 9) }
        guard case .failed(let reason) = unknown else { return #expect(Bool(false)) }
        #expect(reason.contains("expected one of 10, 11, 12, 13, 14, 15"))
        #expect(try await migrations.run().map(\.number) == [12, 13, 14, 15])
        await migrations.close()
    }

    @Test("the days ahead are those without a gap, of challenges and of the audit trail")
    func daysAhead() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        let store = try await ChallengeStore.postgres(
            PostgresSettings(url: server.url(name)), keys: TestKeys.both, limits: .none, logger: quiet)
        let day = StorePolicy.dayMs
        #expect(try await store.daysAhead(nowMs: World.t0) == 7)
        #expect(try await store.daysAhead(nowMs: World.t0 + 5 * day) == 2)
        #expect(try await store.daysAhead(nowMs: World.t0 + 8 * day) == -1)
        let gap = World.t0 / day * day + 3 * day
        try await server.sql("DELETE FROM partition_days WHERE family = 'audit' AND day_ms = \(gap)", in: name)
        #expect(try await store.daysAhead(nowMs: World.t0) == 2)
        await store.close()
    }

    @Test("a day that is far ahead, made by a clock that was wrong, keeps no day before it from being made")
    func farDays() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        let store = try await ChallengeStore.postgres(
            PostgresSettings(url: server.url(name)), keys: TestKeys.both, limits: .none, logger: quiet)
        let day = StorePolicy.dayMs
        try await store.turnDays(nowMs: World.t0 + 40 * day)
        #expect(try await store.daysAhead(nowMs: World.t0 + 8 * day) == -1)
        try await store.turnDays(nowMs: World.t0 + 8 * day)
        #expect(try await store.daysAhead(nowMs: World.t0 + 8 * day) == 7)
        await store.close()
    }

    @Test("a day that somebody dropped by hand, or built a view on, keeps no other from being dropped or made")
    func stuckDays() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        let store = try await ChallengeStore.postgres(
            PostgresSettings(url: server.url(name)), keys: TestKeys.both, limits: .none, logger: quiet)
        let day = StorePolicy.dayMs
        func suffix(_ ms: Int64) async throws -> String {
            try await server.sql("SELECT to_char(to_timestamp(\(ms / 1000)) AT TIME ZONE 'UTC', 'YYYYMMDD')", in: name)
        }
        let (gone, seen) = (try await suffix(World.t0), try await suffix(World.t0 + day))
        try await server.sql("DROP TABLE challenges_\(gone), delivery_facts_\(gone)", in: name)
        try await server.sql("CREATE VIEW report AS SELECT sid FROM challenges_\(seen)", in: name)
        try await store.turnDays(nowMs: World.t0 + 40 * day)
        #expect(try await store.daysAhead(nowMs: World.t0 + 40 * day) == 7)
        let left = try await server.sql(
            "SELECT day_ms FROM partition_days WHERE family = 'challenges' AND day_ms < \(World.t0 + 9 * day) "
                + "AND day_ms > \(World.t0 - 2 * day)", in: name)
        #expect(left == "\((World.t0 + day) / day * day)", "only the one with a view")
        await store.close()
    }

    @Test("a caller's temporary table is not taken for a day of challenges")
    func temporaryTables() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        try await server.sql(documentedRoles(name).before, in: name)
        let owner = try await engine(server.url(name, user: "migrate_\(name)"))
        try await owner.migrate()
        await owner.close()
        let app = try await engine(server.url(name, user: "app_\(name)"))
        let day = StorePolicy.dayMs
        let suffix = try await server.sql(
            "SELECT to_char(to_timestamp(\(World.t0 / 1000)) AT TIME ZONE 'UTC', 'YYYYMMDD')", in: name)
        try await app.run(.write) { connection in
            try PostgresTransaction(connection: connection).makeDays(
                Days(nowMs: World.t0, challengesUntilMs: 0, trafficUntilMs: 0))
            try connection.run(
                "CREATE TEMP VIEW challenges_\(suffix) AS SELECT 'pending'::text AS status", [PostgresValue]())
            try connection.run("GRANT SELECT ON challenges_\(suffix) TO PUBLIC", [PostgresValue]())
            try connection.run(
                "SELECT drop_days('challenges', ?)", [.integer(World.t0 / day * day + day)])
        }
        await app.close()
        #expect(
            try await server.sql(
                "SELECT count(*) FROM beckon.partition_days WHERE family = 'challenges' AND day_ms = "
                    + "\(World.t0 / day * day)", in: name) == "0",
            "the view said that one is pending")
    }

    /// The statements of docs/operations.md that make the roles, and those for after the first migration; names of this
    /// test.
    private func documentedRoles(_ name: String) throws -> (before: String, after: String) {
        let page = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent().appending(
                path: "../../../docs/operations.md"), encoding: .utf8)
        func block(_ start: String) throws -> String {
            let first = try #require(page.range(of: "```sql\n" + start))
            let rest = page[first.lowerBound...].dropFirst("```sql\n".count)
            let last = try #require(rest.range(of: "```"))
            return String(rest[..<last.lowerBound]).replacing(/beckon_(?<role>owner|migrate|app|read)/) {
                "\($0.role)_\(name)"
            }
        }
        return (try block("CREATE ROLE beckon_owner"), try block("GRANT SELECT ON report_"))
    }

    @Test("the role for reports reads every view, no table, and nothing that is secret or says who somebody is")
    func reports() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        let roles = try documentedRoles(name)
        try await server.sql(roles.before, in: name)
        let owner = try await engine(server.url(name, user: "migrate_\(name)"))
        try await owner.migrate()
        await owner.close()
        try await server.sql("SET search_path = beckon; \(roles.after)", in: name)
        let views = try await server.sql(
            "SELECT viewname FROM pg_views WHERE schemaname = 'beckon' ORDER BY 1", in: name
        ).split(separator: "\n").map(String.init)
        #expect(views.count == PostgresSchema.reports.count && views.allSatisfy { $0.hasPrefix("report_") })
        let reader = try await engine(server.url(name, user: "read_\(name)") + "&target_session_attrs=any")
        for view in views {
            _ = try await reader.run(.read) { try $0.integer("SELECT count(*) FROM \(view)", []) }
        }
        await reader.close()
        let more = try await server.sql(
            """
            SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'beckon'::regnamespace AND (c.relkind IN ('r', 'p') \
            AND has_table_privilege('read_\(name)', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') \
            OR c.relkind = 'v' AND has_table_privilege('read_\(name)', c.oid, 'INSERT, UPDATE, DELETE') \
            OR c.relkind = 'S' AND has_sequence_privilege('read_\(name)', c.oid, 'USAGE, SELECT, UPDATE'))
            """, in: name)
        #expect(more == "", "more than reading views")
        let functions = try await server.sql(
            """
            SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'beckon'::regnamespace \
            AND has_function_privilege('read_\(name)', p.oid, 'EXECUTE')
            """, in: name)
        #expect(functions == "", "a function with the owner's rights is not for readers")
        let columns = try await server.sql(
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_name LIKE 'report_%'",
            in: name)
        let secret =
            #/sealed|secret|hash|token|identity|message|fields|details|answer|public_key|metadata|address|value|detail/#
        #expect(columns.split(separator: "\n").filter { $0.contains(secret) }.isEmpty, "\(columns)")
    }

    @Test(
        "a role that may not change tables serves, makes days and drops them; another's day with a pending challenge stays"
    )
    func roles() async throws {
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        try await server.sql(documentedRoles(name).before, in: name)
        let owner = try await engine(server.url(name, user: "migrate_\(name)"))
        try await owner.migrate()
        await owner.close()
        let store = try await ChallengeStore.postgres(
            PostgresSettings(url: server.url(name, user: "app_\(name)")), keys: TestKeys.both, limits: .none,
            logger: quiet)
        func turn(_ nowMs: Int64, untilMs: Int64 = 0) async throws {
            try await store.engine.write { rows in
                let days = Days(nowMs: nowMs, challengesUntilMs: untilMs, trafficUntilMs: 0)
                try rows.makeDays(days)
                try rows.dropDays(days)
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
