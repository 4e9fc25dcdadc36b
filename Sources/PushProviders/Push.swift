public import ChallengeModel

/// One push to one device, independent of the provider. The provider's folder turns it into headers and payload.
public struct Push: Sendable {
    /// A lower-case UUID, sent as `apns-id`. A repeat of the same (challenge, device, dispatch id, kind) has the same
    /// value.
    public var pushID: String
    public var kind: PushKind
    public var challengeSID: String
    public var factorSID: String
    public var dispatchID: String
    /// The text that the person sees, at most 256 characters.
    public var message: String
    /// Expiry in epoch milliseconds. Nothing is sent at or after this time.
    public var expiresAtMs: Int64
    /// Epoch milliseconds. From this time on the push is not sent, but is `deferred` with the reason `withdrawn`.
    public var leaveByMs = Int64.max
    /// Checked when the push is about to leave. Nil: no check.
    public var permit: (any PushPermit)?
    /// Time until which the provider may store the push for a device that is offline. Nil: until the expiry. A time in
    /// the past: deliver now or never.
    public var heldUntilMs: Int64?
    /// True: the provider checks the message and the credential, and delivers nothing. Only a provider that offers this
    /// (FCM, HMS) knows it; for APNs a probe is a push to a token that no device has.
    public var isOnlyChecked = false
    public var receiptToken: String
    /// Tag that the provider returns in its own delivery receipts (HMS's `biTag`, at most 64 bytes); nil: no tag.
    public var receiptTag: String?
    public var platform: Platform
    public var pushToken: String
    public var appID: String
    public var credentialSID: String
    public var environment: ProviderEnvironment
    /// Time of this token's registration in epoch milliseconds. It is compared with the time in an APNs 410.
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
