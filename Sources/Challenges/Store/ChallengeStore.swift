import ChallengeModel

/// Where Beckon keeps what must last, and where it is decided: the final status of a challenge is one compare-and-set in here, and
/// whatever follows from a change is an outbox row of the same transaction. One store above any database.
///
/// Every method takes the time as epoch milliseconds: there is no clock inside. Writes return after their commit is on disk.
/// All throw ``StoreError``. A write whose task is cancelled is still carried out.
public final class ChallengeStore: Sendable {
    package let engine: any StorageEngine
    let rules: StoreRules
    let logins = KnownLogins()

    /// - Parameters:
    ///   - retentionDays: how long a finished challenge is kept, with the identity and the details in it, counted from its creation.
    ///     30 is the API's own span for personal data.
    ///   - limits: against push bombing.
    ///   - entityCreationsPerSecond: of one account (60328); 40 is the API's own number.
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

    /// Rows on their way to Kafka.
    public var outbox: any OutboxStore { engine.outbox }
    /// Transactions committed by this process so far.
    public var commits: Int { engine.commits }
    /// Why writes fail for now; nil: the last one was done.
    public var fault: StoreFault? { engine.fault }
    /// Its connections; nil: it has none.
    public var connections: StoreConnections? { engine.connections }
    /// Writes, and changes nothing: finds out whether a ``fault`` is over.
    public func probe() async { await engine.probe() }
    /// Waits for the writes under way and closes the files. Later calls throw `closed`.
    public func close() async { await engine.close() }

    /// Runs a decision in one transaction. The first write of a device's request claims its token.
    func write<Value: Sendable>(
        _ nowMs: Int64, _ decide: @escaping @Sendable (Decision) throws -> Value
    ) async throws -> Value {
        let (caller, draws, rules) = (ChangeContext.current, Draws(), rules)
        return try await engine.write { rows in
            let decision = Decision(rows: rows, nowMs: nowMs, rules: rules, caller: caller, draws: draws)
            try decision.claimDeviceRequest()
            return try decide(decision)
        }
    }

    /// Runs rules that only look.
    func read<Value: Sendable>(
        _ nowMs: Int64, _ decide: @escaping @Sendable (Decision) throws -> Value
    ) async throws -> Value {
        let rules = rules
        return try await engine.read { rows in
            try decide(Decision(rows: rows, nowMs: nowMs, rules: rules, caller: ChangeContext(), draws: .none))
        }
    }

    /// For writes that a read does beside, and that the next read does again: they do not wait for what cannot write.
    /// - Throws: ``StoreError/unavailable(_:)``.
    func requireWritable() throws(StoreError) {
        if let fault { throw .unavailable(fault) }
    }
}
