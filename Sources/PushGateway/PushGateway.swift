public import ChallengeModel
public import PushProviders

/// The result of one push.
public struct PushAnswer: Sendable, Hashable {
    /// `dropped` only when the expiry was reached before the request was sent, and for a background push to a provider
    /// that has none.
    public var disposition: Disposition
    /// The provider's own reason (`BadDeviceToken`, `UNREGISTERED`), or one of Beckon: `timeout`, `connection`,
    /// `expired`, `reset`, `withdrawn` (it must not be sent any more), `busy` (too many pushes are outstanding),
    /// `stalled` (the same, because the provider fails or is slow), `circuit-open`, `access-token`,
    /// `unknown-credential`, `wrong-credential`, `bad-key`, `no-background`, `closing`.
    public var reason: String
    /// HTTP status; 0 when no answer came.
    public var status: Int
    /// Time of the next try in epoch milliseconds, for `deferred`; otherwise 0.
    public var retryAtMs: Int64
    public var providerMessageID: String
    /// The time in an APNs 410, in epoch milliseconds; otherwise 0.
    public var tokenDiedAtMs: Int64
    /// Time at which the request's headers were written, in epoch milliseconds; 0: never.
    public var sentAtMs: Int64
    /// The answer's `Date` in epoch milliseconds, in whole seconds; 0 when it is missing, or the same second was
    /// already reported.
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

/// The configuration of the gateway: addresses, limits and deadlines.
public struct PushGatewayConfiguration: Sendable {
    private var urls: [ProviderEndpoint: String] = [:]
    /// The URL of an endpoint; the default is the provider's own. `https://HOST[:PORT]`; a token endpoint also has a
    /// path.
    public subscript(endpoint: ProviderEndpoint) -> String {
        get { urls[endpoint] ?? endpoint.url }
        set { urls[endpoint] = newValue }
    }
    /// `http://[USER:PASSWORD@]HOST:PORT` of a proxy that accepts CONNECT. TLS to the provider goes through it. Nil: no
    /// proxy.
    public var proxyURL: String?
    /// PEM file of the only roots that are trusted (simulators, proxies), for providers and token endpoints; nil: the
    /// system's.
    public var caFile: String?
    /// Longest time of a push from hand-over to answer, at most the remaining life of the challenge.
    public var deadline: Duration = .seconds(10)
    /// Maximum number of outstanding pushes over all connections of one provider host. Further pushes are `deferred`. A
    /// single credential has at most three quarters of it while its provider fails or is slow.
    public var maxInFlight = 3072
    public var maxConnectionsPerHost = 8
    public var eventLoopThreads = 1

    public init() {}
}

/// The connections to one provider, and their counters since the gateway was created.
public struct TransportStatistics: Sendable, Hashable {
    /// Number of open connections.
    public var connections = 0
    public var connectionsOpened = 0
    /// Connections that failed. Connections that ended by GOAWAY, or that this side closed, do not count.
    public var connectionsLost = 0
    public var connectFailures = 0
    public var goaways = 0
    /// Requests that were handed to another connection because the peer had not processed them.
    public var resends = 0
    /// Requests that got no answer before their deadline.
    public var timeouts = 0

    /// Empty statistics.
    public init() {}
}

/// The state of a gateway.
public struct PushGatewayStatistics: Sendable, Hashable {
    /// Pushes that were handed over and have no answer yet.
    public var inFlight = 0
    /// The connections, for every provider.
    public var transport: [Platform: TransportStatistics] = [:]
    /// Pairs of credential and host whose circuit breaker is open, for every provider.
    public var openCircuitsByProvider: [Platform: Int] = [:]
    /// The same, over all providers.
    public var openCircuits: Int { openCircuitsByProvider.values.reduce(0, +) }
    /// The current limit of outstanding pushes per provider: the lowest limit among its credentials.
    public var inFlightLimits: [Platform: Int] = [:]

    /// Empty statistics.
    public init() {}

    /// A figure of the connections, over all providers.
    public func sum(_ figure: KeyPath<TransportStatistics, Int>) -> Int {
        transport.values.reduce(0) { $0 + $1[keyPath: figure] }
    }
}
