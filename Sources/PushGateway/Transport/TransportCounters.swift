import Synchronization

/// What the connections of a gateway did since it was made.
final class TransportCounters: Sendable {
    let connections = Atomic(0)
    let connectionsOpened = Atomic(0)
    let connectionsLost = Atomic(0)
    let connectFailures = Atomic(0)
    let goaways = Atomic(0)
    let resends = Atomic(0)
    let timeouts = Atomic(0)
}
