/// A database that keeps Beckon's rows. It runs transactions and knows statements. ``Decision``, above it, decides what
/// is allowed, refused and published.
package protocol StorageEngine: Sendable {
    /// Runs `body` in one transaction, and returns when the commit is on disk. An error from `body` rolls the
    /// transaction back. A body may run again from its start, so it must take times, identifiers and secrets from
    /// outside. Cancelling the caller has no effect.
    /// - Throws: ``StoreError/unavailable(_:)``, ``StoreError/busy``, ``StoreError/closed``, ``StoreError/failed(_:)``;
    ///   what `body` throws.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value
    /// Runs `body` on one consistent state of the database. The state contains every write that has returned. `body`
    /// must not write.
    /// - Throws: as ``write(_:)``.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value

    /// The rows that wait for Kafka.
    var outbox: any OutboxStore { get }
    /// Number of transactions that this process has committed.
    var commits: Int { get }
    /// The reason why writes fail at the moment; nil when the last write succeeded.
    var fault: StoreFault? { get }
    /// Its connections; nil: it has none.
    var connections: StoreConnections? { get }
    /// How far the clock of this process is ahead of the clock of the database's server, at least, in milliseconds: as
    /// it was seen last, a few seconds ago. 0: it is not, or the database has no clock of its own.
    var clockAheadMs: Int64 { get }
    /// Tries a write that changes nothing, to find out whether a ``fault`` is over.
    func probe() async
    /// Waits for the writes in progress and closes. Later calls throw `closed`. Idempotent.
    func close() async
}

/// The interface of the database for a decision: reads and writes of rows by their keys. It is synchronous and runs on
/// a thread that the engine owns.
/// A verb makes no decision. It uses the times and bounds that it gets, and returns the rows that it found or whether
/// it changed a row. A verb that returns nothing may be carried out later: before any read of the transaction that
/// could see it, and at the latest with the commit. The transaction then fails with its error.
package protocol StoreTransaction: AccountRows, AlertRows, AuditRows, ChallengeRows, CodeFactorRows,
    CredentialHealthRows,
    CredentialRows,
    DeliveryRows, EntityRows, FactorRows, OnceRows, OutboxRows, SealingRows, ServiceRows, SweptRows, TargetRows,
    WebhookDeliveryRows, WebhookRows
{
    /// Announces independent reads, so that an engine behind a network can send them in one round trip, in the order in
    /// which `reads` calls their verbs. The same calls afterwards return these answers. Other engines never call
    /// `reads`.
    /// - Parameter reads: calls verbs with `try?`. Their return values have no meaning there.
    func prefetch(_ reads: () -> Void) throws
}

extension StorageEngine {
    package var connections: StoreConnections? { nil }
    package var clockAheadMs: Int64 { 0 }
}
