public import Challenges
public import Logging

extension ChallengeStore {
    /// A store in a PostgreSQL database, for any number of Producers. Waits until the database answers.
    /// - Parameters:
    ///   - settings: how to reach it.
    ///   - wait: for the database to answer; default 30 s.
    ///   - retentionDays, limits, brake, entityCreationsPerSecond: as of
    ///     ``sqlite(path:keys:retentionDays:limits:brake:entityCreationsPerSecond:isServing:logger:)``.
    /// - Throws: ``StoreError/failed(_:)`` that names the database: also when its schema is not this version's, or when
    ///   the keys are not those that it is sealed with; then nothing was written.
    public static func postgres(
        _ settings: PostgresSettings, keys: StoreKeys, retentionDays: Int = 30, limits: ChallengeLimits = .init(),
        brake: TokenBrake = TokenBrake(), entityCreationsPerSecond: Int = 40, wait: Duration = .seconds(30),
        logger: Logger
    ) async throws -> ChallengeStore {
        let engine = try PostgresEngine(settings, logger: logger)
        do {
            try await engine.untilReached(name: settings.description, within: wait, logger: logger)
            try await engine.checkSchema()
            try await engine.write { try checkSealingKeys(keys.store, of: settings.description, in: $0) }
            let store = try ChallengeStore(
                engine: engine, keys: keys, retentionDays: retentionDays, limits: limits, brake: brake,
                entityCreationsPerSecond: entityCreationsPerSecond)
            logger.debug("store open", metadata: ["database": "\(settings)"])
            return store
        } catch {
            await engine.close()
            throw error
        }
    }
}

extension PostgresEngine {
    /// Returns when the database has answered.
    /// - Throws: ``StoreError/failed(_:)`` when it does not, with its last words.
    func untilReached(name: String, within wait: Duration, logger: Logger) async throws {
        let end = ContinuousClock.now + wait
        var told: String?
        while true {
            do {
                return try await run(.read) { _ = try $0.rows("SELECT 1", [PostgresValue]()) }
            } catch {
                let reason =
                    if case .unavailable(let fault) = error as? StoreError { fault.detail } else { "\(error)" }
                guard ContinuousClock.now < end else { throw StoreError.failed("database \(name): \(reason)") }
                if told != reason {
                    told = reason
                    logger.warning("waiting for the database", metadata: ["database": "\(name)", "error": "\(reason)"])
                }
                try await Task.sleep(for: .milliseconds(250))
            }
        }
    }
}
