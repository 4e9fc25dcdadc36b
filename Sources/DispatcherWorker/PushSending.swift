public import ChallengeModel
public import PushGateway
public import PushProviders

/// The interface of a push gateway for the worker: ``PushGateway`` in production, a scripted one in tests.
public protocol PushSending: Sendable {
    /// Sends a push. `completion` is called exactly once, on any thread or at once on the caller's, and must not block.
    func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void)
    func setCredential(_ credential: ProviderCredential)
    func removeCredential(sid: String)
    /// Number of pushes that were handed over and have no answer.
    var inFlight: Int { get }
    /// True when no more pushes should be handed over at the moment. Pushes that are handed over anyway are accepted.
    var isFull: Bool { get }
    /// The counters of the connections, for metrics.
    var statistics: PushGatewayStatistics { get }
    func close(deadline: Duration) async
}

extension PushSending {
    public var isFull: Bool { false }
    /// The statistics of a sender without connections.
    public var statistics: PushGatewayStatistics { PushGatewayStatistics() }
}

extension PushGateway: PushSending {}
