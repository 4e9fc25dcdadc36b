import Foundation
import TestSupport
import Testing

@testable import Challenges
@testable import Storage

@Suite("Statements on PostgreSQL", .postgres, .timeLimit(.minutes(10)))
struct PostgresStatementTests {
    /// Tables that hold a few rows, whatever a store holds.
    private static let tiny = [
        "entity_purges", "outbox_lanes", "outbox_owners", "partition_days", "pg_class", "schema_steps", "sealing_keys",
        "write_probes",
    ]

    @Test("every statement that the conformance cases run finds its rows by an index")
    func plans() async throws {
        let (server, name) = try await MigratedDatabase.shared.next()
        try await inParallel(ConformanceCase.all) { promise in
            try await withPostgresStores(1, limits: promise.limits, isLogged: true) {
                try await promise.check(World($0))
            }
        }
        let kinds = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"]
        let seen = Set(
            server.log.matches(of: /LOG:  (?:execute [^:]+|statement): ([^\n]+)/).map { String($0.1) }
        ).filter { text in kinds.contains { text.hasPrefix($0) } && !text.contains("make_days(") }
        #expect(seen.count > 100)
        try await inParallel(seen.sorted()) { text in
            let count = text.matches(of: /\$([0-9]+)/).compactMap { Int($0.1) }.max() ?? 0
            let blanks = Array(repeating: "NULL", count: count).joined(separator: ", ")
            let plan = try await server.sql(
                """
                SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE s AS \(text); \
                EXPLAIN EXECUTE s\(count == 0 ? "" : "(\(blanks))")
                """, in: name)
            for scan in plan.matches(of: /Seq Scan on ([a-z_]+)/) where !Self.tiny.contains(String(scan.1)) {
                Issue.record("reads \(scan.1) from end to end: \(text)\n\(plan)")
            }
        }
        try await server.sql("DROP DATABASE \(name) WITH (FORCE)")
    }

    /// Six at a time.
    private func inParallel<Element: Sendable>(
        _ elements: [Element], _ body: @escaping @Sendable (Element) async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, element) in elements.enumerated() {
                if index >= 6 { try await group.next() }
                group.addTask { try await body(element) }
            }
            try await group.waitForAll()
        }
    }
}
