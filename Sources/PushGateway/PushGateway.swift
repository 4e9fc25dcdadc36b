public import ChallengeModel
public import Logging

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
    public var receiptToken: String
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
    /// Never `dropped` but for an expiry reached before the request left.
    public var disposition: Disposition
    /// The provider's own word (`BadDeviceToken`, `UNREGISTERED`), or ours: `timeout`, `connection`, `expired`,
    /// `circuit-open`, `unknown-credential`.
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

    public init(
        disposition: Disposition, reason: String = "", status: Int = 0, retryAtMs: Int64 = 0,
        providerMessageID: String = "", tokenDiedAtMs: Int64 = 0, sentAtMs: Int64 = 0
    ) {
        self.disposition = disposition
        self.reason = reason
        self.status = status
        self.retryAtMs = retryAtMs
        self.providerMessageID = providerMessageID
        self.tokenDiedAtMs = tokenDiedAtMs
        self.sentAtMs = sentAtMs
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
    /// PEM file of extra roots (simulators, proxies); nil: the system's.
    public var caFile: String?
    /// Per push, from hand-over to answer; at most what is left of the challenge.
    public var deadline: Duration = .seconds(10)
    /// Pushes outstanding over all connections of one provider host; more are answered `deferred`.
    public var maxInFlight = 4096
    public var maxConnectionsPerHost = 8
    public var eventLoopThreads = 1

    public init() {}
}

/// Sends pushes. Owns connections, provider tokens and circuit breakers; decides nothing about challenges.
public final class PushGateway: Sendable {
    public init(configuration: PushGatewayConfiguration, logger: Logger) throws { preconditionFailure("skeleton") }

    /// Adds or replaces a credential (from topic `configuration`). A replaced key takes effect with the next push.
    public func setCredential(_ credential: ProviderCredential) { preconditionFailure("skeleton") }
    public func removeCredential(sid: String) { preconditionFailure("skeleton") }

    /// Sends one push; `completion` is called exactly once, on an event loop or at once on the caller's thread, and must
    /// not block. An unknown credential is `deferred`, never `rejected`.
    public func send(_ push: Push, completion: @escaping @Sendable (PushAnswer) -> Void) {
        preconditionFailure("skeleton")
    }

    /// Outstanding pushes.
    public var inFlight: Int { preconditionFailure("skeleton") }

    /// Ends connections after what is outstanding, or at the deadline (then those are `unknown`).
    public func close(deadline: Duration) async {}
}
