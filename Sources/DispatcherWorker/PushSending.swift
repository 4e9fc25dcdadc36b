public import ChallengeModel
public import PushGateway
public import PushProviders

/// What the worker needs of a push gateway; ``PushGateway`` in production, a scripted one in tests.
public protocol PushSending: Sendable {
    /// `completion` is called exactly once, on any thread or at once on the caller's, and does not block.
    func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void)
    func setCredential(_ credential: ProviderCredential)
    func removeCredential(sid: String)
    /// Pushes handed over and not answered.
    var inFlight: Int { get }
    /// Nothing more should be handed over just now; what is, is taken all the same.
    var isFull: Bool { get }
    /// What the connections did so far; for metrics.
    var statistics: PushGatewayStatistics { get }
    func close(deadline: Duration) async
}

extension PushSending {
    public var isFull: Bool { false }
    /// Of a sender without connections.
    public var statistics: PushGatewayStatistics { PushGatewayStatistics() }
}

extension PushGateway: PushSending {}
