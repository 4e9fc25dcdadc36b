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
