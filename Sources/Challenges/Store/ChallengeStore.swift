import ChallengeModel

/// Beckon's store. It keeps all lasting state and applies the rules. The final status of a challenge is one
/// compare-and-set here, and every record that follows from a change is an outbox row of the same transaction. It works
/// above any database.
/// Every method gets the time as epoch milliseconds; the store has no clock. A write returns after its commit is on
/// disk. All methods throw ``StoreError``. A write is carried out even when its task is cancelled.
public final class ChallengeStore: Sendable {
    package let engine: any StorageEngine
    let rules: StoreRules
    let logins = KnownLogins()

    /// - Parameters:
    ///   - retentionDays: how long a finished challenge is kept after its creation, with its identity and details. 30
    ///     days is the original API's own span for personal data.
    ///   - limits: the limits against push bombing.
    ///   - entityCreationsPerSecond: the maximum for one account (60328). 40 is the original API's own value.
    /// - Throws: ``StoreError/failed(_:)`` when the first store key cannot seal.
    package init(
        engine: any StorageEngine, keys: StoreKeys, retentionDays: Int, limits: ChallengeLimits, brake: TokenBrake,
        entityCreationsPerSecond: Int
    ) throws {
        self.engine = engine
        let keyProof: [UInt8]
        do { keyProof = try SealingKeys.proof(of: keys.store) } catch { throw StoreError(sealing: error) }
        rules = StoreRules(
            retentionMs: Int64(retentionDays) * StorePolicy.dayMs, limits: limits, brake: brake,
            entityCreationsPerSecond: entityCreationsPerSecond, keys: keys,
            keyProof: keyProof)
    }

    /// The rows that wait for Kafka.
    public var outbox: any OutboxStore { engine.outbox }
    /// Number of transactions that this process has committed.
    public var commits: Int { engine.commits }
    /// The reason why writes fail at the moment; nil when the last write succeeded.
    public var fault: StoreFault? { engine.fault }
    /// How far the clock of this process is ahead of the clock of the database's server, at least, in milliseconds: as
    /// it was seen last, a few seconds ago. 0: it is not, or the database has no clock of its own.
    public var clockAheadMs: Int64 { engine.clockAheadMs }
    /// Its connections; nil: it has none.
    public var connections: StoreConnections? { engine.connections }
    /// Tries a write that changes nothing, to find out whether a ``fault`` is over.
    public func probe() async { await engine.probe() }
    /// Waits for the writes in progress and closes the files. Later calls throw `closed`.
    public func close() async { await engine.close() }

    /// Runs a decision in one transaction. The first write of a device's request claims its token.
    func write<Value: Sendable>(
        _ nowMs: Int64, _ decide: @escaping @Sendable (Decision) throws -> Value
    ) async throws -> Value {
        let (caller, draws, rules) = (ChangeContext.current, Draws(), rules)
        return try await engine.write { rows in
            let decision = Decision(rows: rows, nowMs: nowMs, rules: rules, caller: caller, draws: draws)
            try decision.claimToken()
            return try decide(decision)
        }
    }

    /// Runs rules that only read.
    func read<Value: Sendable>(
        _ nowMs: Int64, _ decide: @escaping @Sendable (Decision) throws -> Value
    ) async throws -> Value {
        let rules = rules
        return try await engine.read { rows in
            try decide(Decision(rows: rows, nowMs: nowMs, rules: rules, caller: ChangeContext(), draws: .none))
        }
    }

    /// Checks that the store can write. Reads use it for optional writes, which the next read repeats, so that they do
    /// not wait for a store that cannot write.
    /// - Throws: ``StoreError/unavailable(_:)``.
    func requireWritable() throws(StoreError) {
        if let fault { throw .unavailable(fault) }
    }
}
