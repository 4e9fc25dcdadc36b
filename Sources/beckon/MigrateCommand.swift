import ArgumentParser
import Challenges
import Foundation
import Logging
import ServiceSupport
import Storage

/// The schema of a PostgreSQL store. A SQLite store is migrated when it is opened.
struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Creates and upgrades the tables of a PostgreSQL store. A SQLite file is upgraded when it is opened.",
        subcommands: [Status.self, Up.self])

    private static let help: ArgumentHelp =
        "Settings, as a producer takes them: --store-url, BECKON_STORE_URL, --config."

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Prints one JSON line per step of the schema, and whether it is done.")

        @Argument(parsing: .allUnrecognized, help: MigrateCommand.help)
        var settings: [String] = []

        func run() async throws {
            for step in try await MigrateCommand.with(settings, { try await $0.steps() }) {
                print(JSONLine([("step", "\(step.number)"), ("name", step.name), ("done", "\(step.isDone)")]))
            }
        }
    }

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "up", abstract: "Runs the steps that are missing. Producers may serve meanwhile.",
            discussion: "Needs a role that owns the schema, and a URL that leads to the server and not to a pooler.")

        @Flag(help: "Print the statements of the missing steps, and run none.") var dryRun = false
        @Option(
            help: "The last step to run: while producers of an earlier version still serve, the last that they know.")
        var to: Int?

        @Argument(parsing: .allUnrecognized, help: MigrateCommand.help)
        var settings: [String] = []

        func run() async throws {
            if dryRun {
                let last = to ?? .max
                for step in try await MigrateCommand.with(settings, { try await $0.steps() })
                where !step.isDone && step.number <= last {
                    print("-- step \(step.number): \(step.name)")
                    for statement in step.statements { print(statement + ";") }
                }
                return
            }
            let last = to
            for step in try await MigrateCommand.with(settings, { try await $0.run(through: last) }) {
                print(JSONLine([("step", "\(step.number)"), ("name", step.name), ("done", "true")]))
            }
        }
    }

    private static func with<Value>(
        _ arguments: [String], _ body: (PostgresMigrations) async throws -> Value
    ) async throws -> Value {
        let settings = try await Settings(role: .producer, arguments: arguments)
        guard case .database(var database) = try StoreLocation(settings) else {
            throw SettingsError("store.url: expected postgresql://…; a SQLite file is upgraded when it is opened")
        }
        database.connections = 1
        // A step may fill or index a table that has grown for years. What it waits for is bounded by itself: a lock for
        // a second, a connection as long as here.
        database.acquireDeadline = .seconds(30)
        database.statementDeadline = .seconds(3600)
        database.requestDeadline = .seconds(3600)
        do {
            let migrations = try await PostgresMigrations(database, logger: Logger(label: "beckon.migrate"))
            let result: Result<Value, any Error>
            do { result = .success(try await body(migrations)) } catch { result = .failure(error) }
            await migrations.close()
            return try result.get()
        } catch let error as StoreError {
            throw CommandStore.failure(error, .database(database))
        }
    }
}
