import Synchronization

/// What the connections to one provider did since the gateway was made.
final class TransportCounters: Sendable {
    let connections = Atomic(0)
    let connectionsOpened = Atomic(0)
    let connectionsLost = Atomic(0)
    let connectFailures = Atomic(0)
    let goaways = Atomic(0)
    let resends = Atomic(0)
    let timeouts = Atomic(0)

    var statistics: TransportStatistics {
        var statistics = TransportStatistics()
        statistics.connections = connections.load(ordering: .relaxed)
        statistics.connectionsOpened = connectionsOpened.load(ordering: .relaxed)
        statistics.connectionsLost = connectionsLost.load(ordering: .relaxed)
        statistics.connectFailures = connectFailures.load(ordering: .relaxed)
        statistics.goaways = goaways.load(ordering: .relaxed)
        statistics.resends = resends.load(ordering: .relaxed)
        statistics.timeouts = timeouts.load(ordering: .relaxed)
        return statistics
    }
}
