public import ChallengeModel
public import PushProviders

/// What became of one push.
public struct PushAnswer: Sendable, Hashable {
    /// `dropped` only for an expiry reached before the request left, and for a background push to a provider without one.
    public var disposition: Disposition
    /// The provider's own word (`BadDeviceToken`, `UNREGISTERED`), or ours: `timeout`, `connection`, `expired`,
    /// `reset`, `withdrawn` (it was not to leave any more), `busy` (more outstanding than allowed), `stalled` (the same, since the provider
    /// fails or is slow), `circuit-open`, `access-token`, `unknown-credential`,
    /// `wrong-credential`, `bad-key`, `no-background`, `closing`.
    public var reason: String
    /// HTTP status; 0 when no answer came.
    public var status: Int
    /// Epoch milliseconds; for `deferred`, else 0.
    public var retryAtMs: Int64
    public var providerMessageID: String
    /// Epoch milliseconds from APNs 410, else 0.
    public var tokenDiedAtMs: Int64
    /// Epoch milliseconds when the request's headers were written; 0: never.
    public var sentAtMs: Int64
    /// Epoch milliseconds of the answer's `Date`, whole seconds; 0: it had none, or one of the same second was told before.
    public var providerDateMs: Int64

    public init(
        disposition: Disposition, reason: String = "", status: Int = 0, retryAtMs: Int64 = 0,
        providerMessageID: String = "", tokenDiedAtMs: Int64 = 0, sentAtMs: Int64 = 0, providerDateMs: Int64 = 0
    ) {
        self.disposition = disposition
        self.reason = reason
        self.status = status
        self.retryAtMs = retryAtMs
        self.providerMessageID = providerMessageID
        self.tokenDiedAtMs = tokenDiedAtMs
        self.sentAtMs = sentAtMs
        self.providerDateMs = providerDateMs
    }
}

/// Where the providers are.
public struct PushGatewayConfiguration: Sendable {
    private var urls: [ProviderEndpoint: String] = [:]
    /// The URL of an endpoint, when it is not the provider's own: `https://HOST[:PORT]`; of a token endpoint with a path.
    public subscript(endpoint: ProviderEndpoint) -> String {
        get { urls[endpoint] ?? endpoint.url }
        set { urls[endpoint] = newValue }
    }
    /// `http://[USER:PASSWORD@]HOST:PORT` of a proxy that takes CONNECT; TLS goes through it to the provider. Nil: none.
    public var proxyURL: String?
    /// PEM file of the only roots that are trusted (simulators, proxies), for providers and token endpoints; nil: the system's.
    public var caFile: String?
    /// Per push, from hand-over to answer; at most what is left of the challenge.
    public var deadline: Duration = .seconds(10)
    /// Pushes outstanding over all connections of one provider host; more are answered `deferred`. A single credential has at
    /// most three quarters of it while its provider is not well.
    public var maxInFlight = 3072
    public var maxConnectionsPerHost = 8
    public var eventLoopThreads = 1

    public init() {}
}

/// What a gateway holds and did since it was made, over all hosts.
public struct PushGatewayStatistics: Sendable, Hashable {
    /// Pushes handed over and not answered yet.
    public var inFlight = 0
    /// Connections open now.
    public var connections = 0
    public var connectionsOpened = 0
    /// Ended by a fault, not by GOAWAY and not by us.
    public var connectionsLost = 0
    public var connectFailures = 0
    public var goaways = 0
    /// Requests handed to another connection because the peer had not processed them.
    public var resends = 0
    /// Requests whose deadline came with the answer outstanding.
    public var timeouts = 0
    /// Ways of a credential to a host whose circuit breaker keeps pushes back now.
    public var openCircuits = 0
    /// Most that may be outstanding now, of the credential of each provider that is limited most.
    public var inFlightLimits: [Platform: Int] = [:]

    /// Nothing yet.
    public init() {}
}
