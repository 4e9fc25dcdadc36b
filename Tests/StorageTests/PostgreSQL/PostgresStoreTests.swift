import ChallengeModel
import Foundation
import TestSupport
import Testing

@testable import Challenges
@testable import Storage

/// Databases with our schema on the shared server: each a copy of one that was migrated once.
actor MigratedDatabase {
    static let shared = MigratedDatabase()
    private var templates: [Int: (server: PostgresServer, name: String)] = [:]

    /// Makes one.
    /// - Parameter step: the last of its schema; nil: the last there is.
    func next(step: Int? = nil) async throws -> (server: PostgresServer, name: String) {
        let (server, template) = try await migrated(step ?? PostgresSchema.served.upperBound)
        return (server, try await server.database(template: template))
    }

    private func migrated(_ step: Int) async throws -> (server: PostgresServer, name: String) {
        if let template = templates[step] { return template }
        let server = try await PostgresServer.shared()
        let name = try await server.database()
        let engine = try PostgresEngine(PostgresSettings(url: server.url(name)), logger: quiet)
        try await engine.untilReached(name: name, within: .seconds(30), logger: quiet)
        try await engine.migrate(through: step)
        // Room for the tests' own clock.
        try await engine.write { rows in
            for nowMs in [World.t0 - StorePolicy.dayMs, World.t0] {
                try rows.makeDays(Days(nowMs: nowMs, challengesUntilMs: 0, trafficUntilMs: 0))
            }
        }
        await engine.close()
        templates[step] = (server, name)
        return (server, name)
    }
}

/// Stores on one database of their own, as of so many Producers.
/// - Parameters:
///   - step: the last of the database's schema; nil: the last there is.
///   - isLogged: the server's log names every statement.
///   - pooler: in front of the server.
///   - connections: of each store. Four are enough for a race, and cost each case half the server processes of eight.
func withPostgresStores(
    _ count: Int, limits: ChallengeLimits = .none, step: Int? = nil, isLogged: Bool = false, pooler: PgBouncer? = nil,
    connections: Int = 4, _ body: ([ChallengeStore]) async throws -> Void
) async throws {
    try await Turns.postgres.withOne { try await withStores(count, limits, step, isLogged, pooler, connections, body) }
}

private func withStores(
    _ count: Int, _ limits: ChallengeLimits, _ step: Int?, _ isLogged: Bool, _ pooler: PgBouncer?,
    _ connections: Int, _ body: ([ChallengeStore]) async throws -> Void
) async throws {
    let (server, name) = try await MigratedDatabase.shared.next(step: step)
    if isLogged { try await server.sql("ALTER DATABASE \(name) SET log_statement = 'all'") }
    var settings = try PostgresSettings(url: pooler?.url(name) ?? server.url(name))
    settings.connections = connections
    // A case asks for thousands at once, on a busy machine.
    settings.waitersPerConnection = 1000
    settings.acquireDeadline = .seconds(300)
    settings.requestDeadline = .seconds(300)
    settings.statementDeadline = .seconds(300)
    var stores: [ChallengeStore] = []
    var failure: (any Error)?
    do {
        for _ in 0..<count {
            stores.append(
                try await ChallengeStore.postgres(settings, keys: TestKeys.both, limits: limits, logger: quiet))
        }
        try await body(stores)
    } catch { failure = error }
    for store in stores { await store.close() }
    try await server.sql("DROP DATABASE \(name) WITH (FORCE)")
    if let failure { throw failure }
}

@Suite("PostgreSQL store", .postgres, .timeLimit(.minutes(20)))
struct PostgresStoreTests {
    @Test("conforms:", arguments: ConformanceCase.all)
    func conforms(to promise: ConformanceCase) async throws {
        try await withPostgresStores(1, limits: promise.limits) { try await promise.check(World($0)) }
    }

    @Test("conforms as three Producers whose calls take turns:", arguments: ConformanceCase.all)
    func conformsTogether(to promise: ConformanceCase) async throws {
        try await withPostgresStores(3, limits: promise.limits) { try await promise.check(World($0)) }
    }

    /// So a producer of this version serves beside one of the version before, until the schema is migrated and after
    /// it.
    @Test(
        "conforms on the oldest schema that it says it serves:",
        arguments: ConformanceCase.all.filter { $0.since <= PostgresSchema.served.lowerBound })
    func conformsBefore(to promise: ConformanceCase) async throws {
        try await withPostgresStores(1, limits: promise.limits, step: PostgresSchema.served.lowerBound) {
            try await promise.check(World($0))
        }
    }
}
