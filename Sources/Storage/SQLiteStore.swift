public import Challenges
import GRDB
public import Logging

extension ChallengeStore {
    /// A store in a SQLite file, for one node. Makes the file when it is missing, and brings the schema up to date.
    /// Blocks for as long as that takes.
    /// - Parameters:
    ///   - retentionDays: how long a finished challenge is kept, with the identity and the details in it, counted from
    ///     its creation; 30 is the API's own span for personal data.
    ///   - limits: against push bombing.
    ///   - entityCreationsPerSecond: of one account (60328); 40 is the API's own number.
    ///   - isServing: for the Producer, which is alone with its file: nobody else opens it so until this one is closed
    ///     or its process has ended, and what an earlier one had claimed of the outbox is free at once. Tools open it
    ///     beside.
    /// - Throws: ``StoreError/failed(_:)`` that names the file: also when a later version has migrated it, or when the
    ///   keys are not those that it is sealed with; then nothing was written but the steps of the schema.
    public static func sqlite(
        path: String, keys: StoreKeys, retentionDays: Int = 30, limits: ChallengeLimits = .init(),
        brake: TokenBrake = TokenBrake(), entityCreationsPerSecond: Int = 40, isServing: Bool = false, logger: Logger
    ) throws -> ChallengeStore {
        try sqlite(
            path: path, keys: keys, retentionDays: retentionDays, limits: limits, brake: brake,
            entityCreationsPerSecond: entityCreationsPerSecond, isServing: isServing, logger: logger
        ) { _ in }
    }

    /// - Parameter configure: last changes to the connections, for tests that watch the statements.
    static func sqlite(
        path: String, keys: StoreKeys, retentionDays: Int = 30, limits: ChallengeLimits = .init(),
        brake: TokenBrake = TokenBrake(), entityCreationsPerSecond: Int = 40, isServing: Bool = false, logger: Logger,
        configure: (inout Configuration) -> Void
    ) throws -> ChallengeStore {
        let engine = try SQLiteEngine(path: path, isServing: isServing, logger: logger, configure: configure) { rows in
            try checkSealingKeys(keys.store, of: path, in: rows)
        }
        return try ChallengeStore(
            engine: engine, keys: keys, retentionDays: retentionDays, limits: limits, brake: brake,
            entityCreationsPerSecond: entityCreationsPerSecond)
    }
}
