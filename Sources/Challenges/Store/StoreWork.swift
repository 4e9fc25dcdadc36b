/// What a transaction is for. A store with a bounded number of connections shares them between these kinds, so that no
/// kind waits until another has nothing left to do.
package enum StoreWork: Int, Sendable, CaseIterable {
    /// The outbox, its lanes, and the probe of a store that cannot write: what was acknowledged is on its way.
    case relay
    /// Requests of backends and devices: answers, reads, settings.
    case request
    /// A request that begins something new: the creation of a challenge.
    case creation
    /// Nobody waits for it: records from Kafka, which come by the hundred after an outage, and sweeps.
    case background

    /// The kind of the current task's transactions.
    @TaskLocal package static var current = StoreWork.request

    /// The kind of a creation by the current task.
    package static var currentCreation: StoreWork { current == .background ? .background : .creation }
}
