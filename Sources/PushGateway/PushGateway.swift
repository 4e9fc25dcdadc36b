public import ChallengeModel

/// One push to one device, neutral of the provider. The provider's folder makes headers and payload of it.
public struct Push: Sendable {
    /// Lower-case UUID; the same for a repeat of the same (challenge, device, dispatch id, kind): `apns-id`.
    public var pushID: String
    public var kind: PushKind
    public var challengeSID: String
    public var factorSID: String
    public var dispatchID: String
    /// At most 256 characters, shown to the person.
    public var message: String
    /// Epoch milliseconds; nothing is sent at or after it.
    public var expiresAtMs: Int64
    /// Epoch milliseconds; from then on it does not leave but is `deferred` as `withdrawn`.
    public var leaveByMs = Int64.max
    /// Nil: it may leave as it is.
    public var permit: (any PushPermit)?
    /// Until when the provider may hold it for a device that is away, if not until the expiry; in the past: now or never.
    public var heldUntilMs: Int64?
    public var receiptToken: String
    /// Comes back in the provider's own delivery receipts (HMS's `biTag`, at most 64 bytes); nil: it has none.
    public var receiptTag: String?
    public var platform: Platform
    public var pushToken: String
    public var appID: String
    public var credentialSID: String
    public var environment: ProviderEnvironment
    /// Epoch milliseconds of this token's registration; compared with the time beside APNs 410.
    public var registeredAtMs: Int64

    public init(
        pushID: String, kind: PushKind, challengeSID: String, factorSID: String, dispatchID: String, message: String,
        expiresAtMs: Int64, receiptToken: String, platform: Platform, pushToken: String, appID: String,
        credentialSID: String, environment: ProviderEnvironment, registeredAtMs: Int64
    ) {
        self.pushID = pushID
        self.kind = kind
        self.challengeSID = challengeSID
        self.factorSID = factorSID
        self.dispatchID = dispatchID
        self.message = message
        self.expiresAtMs = expiresAtMs
        self.receiptToken = receiptToken
        self.platform = platform
        self.pushToken = pushToken
        self.appID = appID
        self.credentialSID = credentialSID
        self.environment = environment
        self.registeredAtMs = registeredAtMs
    }
}

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
    /// `https://api.push.apple.com:443`.
    public var apnsURL = "https://api.push.apple.com:443"
    public var apnsSandboxURL = "https://api.sandbox.push.apple.com:443"
    public var fcmURL = "https://fcm.googleapis.com:443"
    /// The only token endpoint that a service account's assertion is sent to.
    public var fcmTokenURL = "https://oauth2.googleapis.com/token"
    public var hmsURL = "https://push-api.cloud.huawei.com:443"
    /// The only token endpoint that an HMS app's secret is sent to.
    public var hmsTokenURL = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"
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
