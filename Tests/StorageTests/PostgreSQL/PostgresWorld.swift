import Challenges
import Logging
import TestSupport
import Testing

@testable import Storage

/// A database of a test's own on the shared server, with our schema and a table of the test's own, and a pool on it.
struct PostgresWorld {
    static let quiet: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }()

    let server: PostgresServer
    let database: String
    let engine: PostgresEngine

    /// - Parameters:
    ///   - server: nil: the shared one.
    ///   - port: of a proxy; nil: the server's socket.
    static func with<Value>(
        _ server: PostgresServer? = nil, proxy: PostgresProxy? = nil, connections: Int = 4,
        settings change: (inout PostgresSettings) -> Void = { _ in },
        _ body: (PostgresWorld) async throws -> Value
    ) async throws -> Value {
        let database: String
        if let server {
            database = try await server.database()
            let schema = PostgresSchema.steps.flatMap(\.statements).joined(separator: ";\n")
            try await server.sql(schema, in: database)
        } else {
            database = try await MigratedDatabase.shared.next().name
        }
        let server = if let server { server } else { try await PostgresServer.shared() }
        try await server.sql(
            "CREATE TABLE things (id bigint PRIMARY KEY, flag smallint, name text COLLATE \"C\", body bytea)",
            in: database)
        var settings = try PostgresSettings(
            url: proxy.map { PostgresServer.url(database, port: $0.port) } ?? server.url(database))
        settings.connections = connections
        // Of a machine that is busy with other tests.
        settings.acquireDeadline = .seconds(60)
        settings.statementDeadline = .seconds(60)
        settings.requestDeadline = .seconds(120)
        settings.connectDeadline = .seconds(30)
        change(&settings)
        let engine = try PostgresEngine(settings, logger: quiet)
        do {
            try await engine.untilReached(name: "test", within: .seconds(30), logger: quiet)
            let world = PostgresWorld(server: server, database: database, engine: engine)
            let value = try await body(world)
            await engine.close()
            return value
        } catch {
            await engine.close()
            throw error
        }
    }

    func insert(_ id: Int64, _ name: String = "x") async throws {
        try await engine.run(.write) { connection in
            _ = try connection.rows("SELECT 1", [PostgresValue]())
            try connection.run("INSERT INTO things (id, name) VALUES (?, ?)", [.integer(id), .text(name)])
        }
    }

    func count() async throws -> Int { Int(try await server.sql("SELECT count(*) FROM things", in: database)) ?? -1 }

    /// Returns once it holds.
    func until(_ holds: () async throws -> Bool) async throws {
        while try await !holds() { try await Task.sleep(for: .milliseconds(10)) }
    }

    /// All of the pool's connections are open.
    func untilWarm() async throws {
        try await until { engine.pool.gauges.open == engine.pool.settings.connections }
    }
}
