import ChallengeModel
import Foundation
import GRDB
import TestSupport
import Testing

@testable import Challenges
@testable import Storage

@Suite("Copy of a store from SQLite to PostgreSQL", .postgres, .timeLimit(.minutes(10)))
struct StoreCopyTests {
    /// A file with our schema, an empty database with the same, and a copy from one to the other.
    fileprivate struct Scene {
        let path: String
        let server: PostgresServer
        let database: String
        var copy: StoreCopy

        func run(isDry: Bool = false) async throws -> StoreCopy.Report { try await copy.run(isDry: isDry) { _ in } }

        func refusal() async -> StoreCopyError? {
            do {
                _ = try await run()
                return nil
            } catch { return error as? StoreCopyError }
        }

        func sqlite<Value>(_ body: (Database) throws -> Value) throws -> Value {
            let queue = try DatabaseQueue(path: path)
            defer { try? queue.close() }
            return try queue.write(body)
        }

        func target() async throws -> ChallengeStore {
            try await ChallengeStore.postgres(
                PostgresSettings(url: server.url(database)), keys: TestKeys.both, limits: .none, logger: quiet)
        }
    }

    private func withScene(
        fill: (ChallengeStore) async throws -> Void = { _ in }, _ body: (Scene) async throws -> Void
    ) async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, limits: .none, logger: quiet)
            try await fill(store)
            await store.close()
            let (server, database) = try await MigratedDatabase.shared.next()
            var copy = StoreCopy(path: path, target: try PostgresSettings(url: server.url(database)), logger: quiet)
            copy.batchRows = 3
            try await body(Scene(path: path, server: server, database: database, copy: copy))
            try await server.sql("DROP DATABASE \(database) WITH (FORCE)")
        }
    }

    // MARK: - Tables

    @Test("every table and every column of a file has its place in a database, or is left out on purpose")
    func schemas() async throws {
        try await withScene { scene in
            let tables = try scene.sqlite { database in
                try String.fetchSet(database, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            let sources = Set(CopiedTable.all.map(\.name)).subtracting(["live_actions"])
            #expect(tables.subtracting(CopiedTable.ofSourceOnly) == sources)
            let targets = try await scene.server.sql(
                """
                SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \
                AND (NOT relispartition) ORDER BY 1
                """, in: scene.database)
            let names = Set(targets.split(separator: "\n").map(String.init))
            #expect(names.subtracting(CopiedTable.ofTargetOnly) == Set(CopiedTable.all.map(\.name)))
            for table in CopiedTable.all where table.name != "live_actions" {
                let here = try scene.sqlite { try Set($0.columns(in: table.source).map(\.name)) }
                let there = try await scene.columns(of: table.name)
                #expect(here.subtracting(table.leftOut).isSubset(of: there.map(\.name)), "\(table.name)")
                #expect(
                    Set(there.map(\.name)).subtracting(here) == Set(table.expressions.keys),
                    "\(table.name): columns that only the database has")
            }
        }
    }

    @Test("rows of every table arrive as they are, NULL and zero bytes too, and a second call does nothing")
    func everyTable() async throws {
        try await withScene { scene in
            try scene.fillEveryTable()
            let dry = try await scene.run(isDry: true)
            #expect(dry.rows > 200 && dry.rowsBefore == 0)
            #expect(try await scene.server.sql("SELECT count(*) FROM accounts", in: scene.database) == "0")
            let report = try await scene.run()
            #expect(report.rows == dry.rows && !report.wasDone && report.tables.allSatisfy { $0.rows > 0 })
            for table in CopiedTable.all {
                let columns = try await scene.columns(of: table.name)
                let (here, there) = (try scene.source(table, columns), try await scene.rows(table, columns))
                #expect(here == there, "\(table.name)")
            }
            let again = try await scene.run()
            #expect(again.wasDone && again.tables == report.tables)
        }
    }

    // MARK: - Life after

    @Test("what was pending goes on: answered by its device, one live challenge per action, ids above all old ones")
    func goesOn() async throws {
        try await withTemporaryFolder { folder in
            let path = folder.appending(path: "store.db").path
            let store = try ChallengeStore.sqlite(path: path, keys: TestKeys.both, limits: .none, logger: quiet)
            let world = try await World(store)
            let factor = try await world.factor()
            var new = world.newChallenge()
            new.actionKey = "attempt-1"
            let pending = try await store.createChallenge(new, nowMs: World.t0).0
            let old = try await world.challenge(
                expiresAtMs: World.t0 - 90 * StorePolicy.dayMs + 300_000, nowMs: World.t0 - 90 * StorePolicy.dayMs)
            let audit = try await store.auditEvents(AuditFilter(account: world.account), page: PageRequest(size: 1000))
            let waiting = try await store.outbox.outboxState().rows
            await store.close()
            let (server, database) = try await MigratedDatabase.shared.next()
            let settings = try PostgresSettings(url: server.url(database))
            _ = try await StoreCopy(path: path, target: settings, logger: quiet).run { _ in }

            let there = try await ChallengeStore.postgres(settings, keys: TestKeys.both, limits: .none, logger: quiet)
            func stored(_ sid: ChallengeSID) async throws -> Challenge? {
                try await there.challenge(
                    sid, account: world.account, service: world.service, identity: world.identity, factor: nil)
            }
            #expect(try await stored(pending.sid) == pending)
            #expect(try await stored(old.sid)?.sid == old.sid)
            #expect(
                try await there.authenticate(.account(world.account, authToken: world.authToken), nowMs: World.t0)
                    != nil, "the sealed token opens")
            let reused = try await there.createChallenge(new, nowMs: World.t0 + 1)
            #expect(reused.0.sid == pending.sid)
            let answered = try await there.answer(world.answer(pending.sid, factor.sid), nowMs: World.t0 + 2)
            #expect(answered.status == .approved)
            let trail = try await there.auditEvents(AuditFilter(account: world.account), page: PageRequest(size: 1000))
            #expect(trail.items.count > audit.items.count)
            #expect(Array(trail.items.suffix(audit.items.count)) == audit.items, "the new ones are the newest")
            let rows = try await there.outbox.claimOutbox(
                owner: "relay", limit: 1000, leaseMs: 60_000, nowMs: World.t0)
            #expect(rows.count > waiting && rows.map(\.id) == rows.map(\.id).sorted())
            let keys = rows.filter { $0.key == pending.sid.rawValue }.map(\.topic)
            #expect(keys.first == .challenges && keys.contains(.resolutions), "the dispatch before its resolution")
            await there.close()
            try await server.sql("DROP DATABASE \(database) WITH (FORCE)")
        }
    }

    // MARK: - Refusals

    @Test("a copy is refused before anything is written when a side is not as it must be; the reason says what to do")
    func refusals() async throws {
        try await withScene(fill: { _ = try await World($0) }) { scene in
            func expect(_ words: String..., from copy: Scene) async {
                guard case .refused(let reason) = await copy.refusal() else { return #expect(Bool(false), "\(words)") }
                for word in words { #expect(reason.contains(word), "\(reason)") }
            }
            var missing = scene
            missing.copy = StoreCopy(path: scene.path + "x", target: scene.copy.target, logger: quiet)
            await expect("does not exist", from: missing)

            let producer = try ChallengeStore.sqlite(
                path: scene.path, keys: TestKeys.both, isServing: true, logger: quiet)
            await expect("another producer (process \(getpid()))", "stop it first", from: scene)
            await producer.close()

            var configuration = Configuration()
            configuration.allowsUnsafeTransactions = true
            let shell = try DatabaseQueue(path: scene.path, configuration: configuration)
            try await shell.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
            await expect("another process writes to it", from: scene)
            try await shell.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
            try shell.close()

            let plain = scene.path + "-plain"
            try DatabaseQueue(path: plain).close()
            var other = scene
            other.copy = StoreCopy(path: plain, target: scene.copy.target, logger: quiet)
            await expect("schema of this version", from: other)

            let empty = try await scene.server.database()
            var unmigrated = scene
            unmigrated.copy = StoreCopy(
                path: scene.path, target: try PostgresSettings(url: scene.server.url(empty)), logger: quiet)
            await expect("beckon migrate up", from: unmigrated)

            let engine = try PostgresEngine(PostgresSettings(url: scene.server.url(scene.database)), logger: quiet)
            try await engine.untilReached(name: "test", within: .seconds(30), logger: quiet)
            await expect("sessions of Beckon are connected", "stop all producers", from: scene)
            await engine.close()

            try await scene.server.sql(
                "CREATE ROLE app_\(scene.database) LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app_\(scene.database)",
                in: scene.database)
            var app = scene
            app.copy = StoreCopy(
                path: scene.path,
                target: try PostgresSettings(
                    url: scene.server.url(scene.database, user: "app_\(scene.database)")), logger: quiet)
            await expect("does not own the tables", "beckon migrate", from: app)
            try await scene.server.sql("DROP OWNED BY app_\(scene.database)", in: scene.database)

            try await scene.server.sql("INSERT INTO sealing_keys VALUES ('k1')", in: scene.database)
            await expect("holds data already (sealing_keys)", "empty database", from: scene)
            try await scene.server.sql("DELETE FROM sealing_keys", in: scene.database)
            #expect(try await scene.server.sql("SELECT to_regclass('store_copies')", in: scene.database) == "")
            #expect(await scene.refusal() == nil)

            try scene.sqlite { try $0.execute(sql: "INSERT INTO sealing_keys VALUES ('later', NULL)") }
            await expect("copy of another store, or the source has changed", from: scene)
        }
    }

    @Test("a text that PostgreSQL does not take stops the copy at its table; no producer starts; mended, it goes on")
    func interrupted() async throws {
        try await withScene { scene in
            try scene.fillEveryTable()
            try scene.sqlite { try $0.execute(sql: "UPDATE webhook_attempts SET reason = 'a' || char(0) WHERE id = 5") }
            guard case .failed(let reason) = await scene.refusal() else { return #expect(Bool(false)) }
            #expect(reason.contains("webhook_attempts") && reason.contains("column reason"), "\(reason)")
            let refused = await storeError { _ = try await scene.target() }
            guard case .failed(let advice) = refused else { return #expect(Bool(false)) }
            #expect(advice.contains("run beckon store copy to its end"))
            try scene.sqlite { try $0.execute(sql: "UPDATE webhook_attempts SET reason = 'a' WHERE id = 5") }
            let report = try await scene.run()
            #expect(report.rowsBefore > 150 && report.rowsBefore < report.rows)
            // The rows of this test are sealed under no key.
            guard case .failed(let other) = await storeError({ _ = try await scene.target() }) else {
                return #expect(Bool(false))
            }
            #expect(other.contains("BECKON_STORE_KEYS lacks key"))
        }
    }

    @Test("a row that differs is found, whatever was counted, and the table is named")
    func difference() async throws {
        try await withScene { scene in
            try scene.fillEveryTable()
            _ = try await scene.run()
            for change in [
                "UPDATE challenges SET message = message || '!' WHERE sid = (SELECT max(sid) FROM challenges)",
                "DELETE FROM challenges WHERE sid = (SELECT max(sid) FROM challenges)",
            ] {
                try await scene.server.sql(
                    "UPDATE store_copies SET state = 'copying' WHERE place = ''; \(change)", in: scene.database)
                guard case .differs(let reason) = await scene.refusal() else {
                    return #expect(Bool(false), "\(change)")
                }
                #expect(reason.contains("table challenges differs"))
                #expect(await storeError { _ = try await scene.target() } != nil)
            }
        }
    }

    @Test("rows are found in what the server sends, wherever it is cut")
    func parser() throws {
        let row: [UInt8] = [0, 2, 0, 0, 0, 3, 1, 2, 3, 255, 255, 255, 255]
        let bytes = CopiedRows.signature + row + row + CopiedRows.trailer
        for size in 1...bytes.count {
            var parser = CopiedRowParser()
            var found: [[UInt8]] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                try bytes[start..<min(start + size, bytes.count)].withUnsafeBytes { piece in
                    try parser.read(piece) { found.append(Array($0)) }
                }
            }
            #expect(found == [row, row] && parser.isComplete)
        }
        var parser = CopiedRowParser()
        #expect(throws: StoreError.self) {
            try Array("anything else, as long as a header".utf8).withUnsafeBytes { try parser.read($0) { _ in } }
        }
    }
}

extension StoreCopyTests.Scene {
    func columns(of table: String) async throws -> [CopiedColumn] {
        let target = try await CopyTarget(PostgresSettings(url: server.url(database)), logger: quiet)
        let columns = try await target.columns(of: CopiedTable(table))
        await target.close()
        return columns
    }

    /// Seven rows in each table, of values that only their types bind.
    func fillEveryTable() throws {
        try sqlite { database in
            for table in CopiedTable.all where table.source == table.name {
                let columns = try database.columns(in: table.name)
                for row in 1...7 {
                    let values = columns.map { column in value(of: column, table.name, row) }
                    try database.execute(
                        sql: """
                            INSERT INTO \(table.name) (\(columns.map(\.name).joined(separator: ", "))) \
                            VALUES (\(values.map { _ in "?" }.joined(separator: ", ")))
                            """, arguments: StatementArguments(values))
                }
            }
        }
    }

    private func value(of column: ColumnInfo, _ table: String, _ row: Int) -> (any DatabaseValueConvertible)? {
        // Days that are far apart, and none that the test's template has made.
        let ms = 1_700_000_000_000 + Int64(row) * 40 * StorePolicy.dayMs
        switch (table, column.name) {
        case ("challenges", "sid"), ("challenge_targets", "challenge_sid"), ("delivery_facts", "challenge_sid"),
            ("code_attempts", "challenge_sid"):
            return ChallengeSID.generate(variant: 3, nowMs: ms).rawValue
        case ("challenges", "status"): return row % 2 == 0 ? "pending" : "approved"
        case ("challenges", "action_key"): return row % 3 == 0 ? nil : "action \(row)"
        case ("audit_events", "traffic"): return row % 2
        case ("audit_events", "at_ms"): return ms
        default: break
        }
        if !column.isNotNull, column.primaryKeyIndex == 0, row % 2 == 0 { return nil }
        switch column.type {
        case "INTEGER": return row == 7 ? 32_767 : row
        case "TEXT": return row == 1 && column.primaryKeyIndex == 0 ? "" : "täxt \(row) 🔑"
        default: return Data([0, 255, UInt8(row)])
        }
    }

    /// As GRDB reads them.
    func source(_ table: CopiedTable, _ columns: [CopiedColumn]) throws -> [[SQLValue]] {
        try sqlite { database in
            let list = columns.map { column in
                switch (table.name, column.name) {
                case ("credential_minutes", "slot"): "0"
                case ("outbox", "lane"): "key"
                default: column.name
                }
            }
            let order = table.key.joined(separator: ", ")
            let sql = "SELECT \(list.joined(separator: ", ")) FROM \(table.source) ORDER BY \(order)"
            return try Row.fetchAll(database, sql: sql).map { row in
                columns.indices.map { index -> SQLValue in
                    switch (row[index] as DatabaseValue).storage {
                    case .string(let key) where table.name == "outbox" && columns[index].name == "lane":
                        return .integer(Int64(OutboxLanes.lane(of: key)))
                    case .string(let text): return .text(text)
                    case .int64(let number): return .integer(number)
                    case .blob(let data): return .blob([UInt8](data))
                    case .null, .double: return .null
                    }
                }
            }
        }
    }

    /// As a store reads them.
    func rows(_ table: CopiedTable, _ columns: [CopiedColumn]) async throws -> [[SQLValue]] {
        let engine = try PostgresEngine(PostgresSettings(url: server.url(database)), logger: quiet)
        let rows = try await engine.run(.read) { connection in
            try connection.rows(
                """
                SELECT \(columns.map(\.name).joined(separator: ", ")) FROM \(table.name) \
                ORDER BY \(table.key.joined(separator: ", "))
                """, [PostgresValue]()
            ).map { row in
                columns.indices.map { index -> SQLValue in
                    switch columns[index].kind {
                    case .long, .short: row.optionalInt64(index).map { .integer($0) } ?? .null
                    case .text: row.optionalText(index).map { .text($0) } ?? .null
                    case .blob: row.optionalBytes(index).map { .blob($0) } ?? .null
                    }
                }
            }
        }
        await engine.close()
        return rows
    }
}
