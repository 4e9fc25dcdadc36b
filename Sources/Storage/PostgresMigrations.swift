import Challenges
public import Logging

/// The schema of a PostgreSQL store, for whoever may change it.
public struct PostgresMigrations: Sendable {
    /// One numbered step of the schema.
    public struct Step: Sendable, Hashable {
        public let number: Int
        public let name: String
        public let isDone: Bool
        /// What it runs, in one transaction.
        public let statements: [String]
    }

    private let engine: PostgresEngine

    /// Waits until the database answers.
    /// - Parameter settings: of a role that owns the schema.
    /// - Throws: ``StoreError/failed(_:)`` that names the database.
    public init(_ settings: PostgresSettings, logger: Logger) async throws {
        engine = try PostgresEngine(settings, logger: logger)
        do {
            try await engine.untilReached(name: settings.description, within: .seconds(5), logger: logger)
        } catch {
            await engine.close()
            throw error
        }
    }

    /// All steps that this version knows, in their order.
    public func steps() async throws -> [Step] {
        let state = try await engine.run(.read) { try PostgresSchema.state($0) }
        return PostgresSchema.steps.map {
            Step(number: $0.number, name: $0.name, isDone: $0.number <= state, statements: $0.statements)
        }
    }

    /// Runs the steps that are missing, each in a transaction of its own, and makes room for the days to come. Several
    /// processes may do so at once, beside producers that serve. One that was stopped is run again.
    /// - Parameter last: the last step to run; nil: all.
    /// - Returns: the steps that were missing when it began.
    /// - Throws: ``StoreError/failed(_:)`` when a later version has changed the schema; what the database refuses.
    public func run(through last: Int? = nil) async throws -> [Step] {
        guard last == nil || PostgresSchema.steps.contains(where: { $0.number == last }) else {
            let known = PostgresSchema.steps.map { String($0.number) }.joined(separator: ", ")
            throw StoreError.failed("there is no step \(last ?? 0) of the schema: expected one of \(known)")
        }
        return try await engine.migrate(through: last ?? .max).map {
            Step(number: $0.number, name: $0.name, isDone: true, statements: $0.statements)
        }
    }

    public func close() async { await engine.close() }
}
