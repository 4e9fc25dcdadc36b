import ChallengeModel
import Foundation
import GRDB
import GRDBSQLite
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Challenges
@testable import Storage

@Suite("Statements", .timeLimit(.minutes(5)))
struct StatementTests {
    /// Statements seen on all connections of a pool.
    final class Seen: Sendable {
        private let texts = Mutex<Set<String>>([])
        func add(_ text: String) { texts.withLock { _ = $0.insert(text) } }
        var all: [String] { texts.withLock { $0.sorted() } }
    }

    /// Scans that are meant: of a table or partial index that holds a row but for moments, or in the order of a key and
    /// cut short by LIMIT.
    static func isMeant(_ line: String, _ text: String) -> Bool {
        let tiny = [
            "SCAN sqlite_sequence", "SCAN entity_purges", "SCAN outbox_claims",
            "SCAN services USING INDEX services_deleted",
            "SCAN services USING COVERING INDEX services_deleted",
            // A row per store key that something is sealed under; read when a store is opened.
            "SCAN sealing_keys",
            // The rows of a subquery that LIMIT has cut short.
            "SCAN waiting_rows", "SCAN recent_alerts",
            // One row for each lane of a failing webhook; the relay looks at most half of its time.
            "SCAN webhook_deliveries USING COVERING INDEX webhook_deliveries_due",
        ]
        // Runs once in the life of a store, when it is migrated.
        if text.hasPrefix("INSERT INTO sealing_keys (key_id) SELECT") { return true }
        let cutShort = [
            ("SCAN challenges", "ORDER BY id LIMIT ?"),
            ("SCAN outbox USING INDEX outbox_dispatches", "ORDER BY id LIMIT 1"),
        ]
        return tiny.contains(line) || cutShort.contains { line == $0.0 && text.hasSuffix($0.1) }
    }

    @Test("no statement that the conformance cases run reads a table from end to end")
    func plans() async throws {
        try await withTemporaryFolder { folder in
            let seen = Seen()
            for (index, promise) in (ConformanceCase.all + ConformanceCase.rangeLeases).enumerated() {
                let store = try ChallengeStore.sqlite(
                    path: folder.appending(path: "\(index).db").path, keys: TestKeys.both, limits: promise.limits,
                    logger: quiet
                ) { configuration in
                    configuration.prepareDatabase { database in
                        database.trace { event in
                            if case .statement(let statement) = event { seen.add(statement.sql) }
                        }
                    }
                }
                try await promise.check(World(store))
                await store.close()
            }
            let kinds = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            let statements = seen.all.filter { text in
                kinds.contains { text.hasPrefix($0) } && !text.contains("sqlite_master") && !text.contains("grdb_")
            }
            #expect(statements.count > 60)
            let queue = try DatabaseQueue(path: folder.appending(path: "0.db").path)
            for text in statements {
                let plan = try await queue.read { database in
                    try Row.fetchAll(database, sql: "EXPLAIN QUERY PLAN " + text, arguments: Self.blanks(text))
                        .map { $0["detail"] as String }
                }
                for line in plan where line.hasPrefix("SCAN") && !Self.isMeant(line, text) {
                    Issue.record("\(line): \(text)")
                }
            }
            try queue.close()
        }
    }

    /// As many nulls as there are question marks; no text literal of ours holds one.
    static func blanks(_ text: String) -> StatementArguments {
        StatementArguments(Array(repeating: DatabaseValue.null, count: text.count { $0 == "?" }))
    }

    @Test("every commit waits for the disk: synchronous is FULL on the connection that writes")
    func synchronous() async throws {
        try await withTemporaryFolder { folder in
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "s.db").path, keys: TestKeys.both, logger: quiet)
            let level = try await store.sqlite.writeRows { try $0.integer("PRAGMA synchronous") }
            #expect(level == 2)
            await store.close()
        }
    }

    /// Hundreds of steps of SQLite's virtual machine, over all connections of a store.
    final class Steps: Sendable {
        let hundreds = Atomic(0)

        func count(on connection: OpaquePointer?) {
            // Unretained: the test keeps it until its store has closed.
            sqlite3_progress_handler(
                connection, 100,
                { pointer in
                    if let pointer {
                        _ = Unmanaged<Steps>.fromOpaque(pointer).takeUnretainedValue().hundreds
                            .add(1, ordering: .relaxed)
                    }
                    return 0
                }, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    @Test("a claim stays cheap with a hundred thousand rows waiting and thousands under a lease")
    func backlog() async throws {
        try await withTemporaryFolder { folder in
            let steps = Steps()
            let store = try ChallengeStore.sqlite(
                path: folder.appending(path: "s.db").path, keys: TestKeys.both, logger: quiet
            ) { configuration in
                configuration.prepareDatabase { steps.count(on: $0.sqliteConnection) }
            }
            try await store.sqlite.writeRows { database in
                for index in 0..<100_000 {
                    try SQLiteTransaction(connection: database).enqueue(
                        OutboxRecord(.events, key: "k\(index)", value: [1, 2, 3], contentType: .cloudEvent), nowMs: 0)
                }
            }
            _ = try await store.outbox.claimOutbox(owner: "relay", limit: 5000, leaseMs: 1_000_000, nowMs: 0)
            var claims: [Duration] = []
            var states: [Duration] = []
            let before = steps.hundreds.load(ordering: .relaxed)
            for _ in 0..<20 {
                let start = ContinuousClock.now
                let rows = try await store.outbox.claimOutbox(owner: "relay", limit: 10, leaseMs: 1_000_000, nowMs: 1)
                claims.append(ContinuousClock.now - start)
                #expect(rows.count == 10)
                let asked = ContinuousClock.now
                #expect(try await store.outbox.outboxState().rows == 100_000)
                states.append(ContinuousClock.now - asked)
            }
            let each = (steps.hundreds.load(ordering: .relaxed) - before) * 100 / claims.count
            #expect(each > 0 && each < 20_000, "steps of a claim and a look at the state; a scan takes some 300,000")
            let (claim, state) = (claims.sorted()[10].inMilliseconds, states.sorted()[10].inMilliseconds)
            Speed.expect(
                "outbox-backlog", ["claim_p50_ms": claim, "state_p50_ms": state, "steps": Double(each)],
                claim < 100 && state < 100)
            await store.close()
            withExtendedLifetime(steps) {}
        }
    }
}
