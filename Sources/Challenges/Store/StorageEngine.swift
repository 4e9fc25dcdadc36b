/// A database that keeps Beckon's rows: SQLite today. It runs transactions and knows statements; what is allowed, refused, told and
/// published is decided above it, in ``Decision``.
package protocol StorageEngine: Sendable {
    /// Runs `body` in one transaction and returns once that is on disk. What `body` throws undoes its writes. A body may be run
    /// again from its start, so that it takes times, identifiers and secrets from outside. Cancelling the caller changes nothing.
    /// - Throws: ``StoreError/unavailable(_:)``, ``StoreError/busy``, ``StoreError/closed``, ``StoreError/failed(_:)``; what `body` throws.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value
    /// Runs `body` on one state of the database: every write is in it whose caller has returned. `body` must not write.
    /// - Throws: as ``write(_:)``.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StoreTransaction) throws -> Value
    ) async throws -> Value

    /// Rows on their way to Kafka.
    var outbox: any OutboxStore { get }
    /// Transactions committed by this process so far.
    var commits: Int { get }
    /// Why writes fail for now; nil: the last one was done.
    var fault: StoreFault? { get }
    /// Its connections; nil: it has none.
    var connections: StoreConnections? { get }
    /// Writes, and changes nothing: finds out whether a ``fault`` is over.
    func probe() async
    /// Waits for the writes under way and closes. Later calls throw `closed`. Idempotent.
    func close() async
}

/// What a decision may ask of the database: reads and writes of rows, by their keys. Synchronous, on a thread that the engine owns.
///
/// No verb judges: it takes times and bounds as they are given, and says what it found or whether it changed a row. A verb that
/// returns nothing may be carried out later: before any read of the transaction that could see it, and with the commit at the
/// latest; its failure is then the transaction's.
package protocol StoreTransaction: AccountRows, AuditRows, ChallengeRows, CodeFactorRows, CredentialHealthRows,
    CredentialRows,
    DeliveryRows, EntityRows, FactorRows, OnceRows, OutboxRows, SealingRows, ServiceRows, SweptRows, TargetRows,
    WebhookDeliveryRows, WebhookRows
{
    /// Names reads that do not depend on each other, so that an engine with a network in between asks for them in one round trip, in
    /// the order in which `reads` calls their verbs. The same calls after it find what was answered. Other engines never call `reads`.
    /// - Parameter reads: calls verbs by `try?`; what they return means nothing there.
    func prefetch(_ reads: () -> Void) throws
}

extension StorageEngine {
    package var connections: StoreConnections? { nil }
}
