public import ChallengeModel

public struct NewChallenge: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    /// Nil: all push factors of the identity that are verified now.
    public var factor: FactorSID?
    public var message: String
    /// JSON text: `[{"label":…,"value":…}]`.
    public var fields = "[]"
    /// JSON text of an object of strings.
    public var hiddenDetails: String?
    public var expiresAtMs: Int64
    public var fallbacks: [String] = []
    /// Zeros: the defaults.
    public var redelivery = Redelivery()
    public var requestID: String?
    public var traceparent: String?
    /// Names one attempt of a person, 1 to 128 characters. Nil: the challenge stands for itself.
    public var actionKey: String?
    /// Nil: as the service says.
    public var requiresNumber: Bool?
    /// 2 to 6; nil: as the service says.
    public var numberDigits: Int?
    /// Nil: as the service says.
    public var requiresSession: Bool?
    public var idempotency: IdempotencyKey?

    public init(
        account: AccountSID, service: ServiceSID, identity: String, factor: FactorSID?, message: String,
        expiresAtMs: Int64
    ) {
        self.account = account
        self.service = service
        self.identity = identity
        self.factor = factor
        self.message = message
        self.expiresAtMs = expiresAtMs
    }
}

public struct Challenge: Sendable, Hashable {
    public let sid: ChallengeSID
    public let account: AccountSID
    public let service: ServiceSID
    public let entity: EntitySID
    public let identity: String
    /// The one factor it was made for; nil for a fan-out.
    public let factor: FactorSID?
    public let message: String
    public let fields: String
    public let hiddenDetails: String?
    /// `details.date` is shown.
    public let includesDate: Bool
    public let expiresAtMs: Int64
    public let createdAtMs: Int64
    public var updatedAtMs: Int64
    public var respondedAtMs: Int64?
    /// As stored: a pending one past its expiry still says pending, see `ChallengeLifecycle.status`.
    public var status: ChallengeStatus
    public var responder: FactorSID?
    /// The JWT that answered it.
    public var signedAnswer: String?
    public var metadata: String?
    public let fallbacks: [String]
    public let redelivery: Redelivery
    public let requestID: String?
    public var notifications: Int
    public var actionKey: String?
    /// What a device knows the action by: random, the same for the challenges that follow each other in it. Nil: no action.
    public var actionID: String?
    /// Digits of the number that an approval needs; 0: it needs none.
    public var numberDigits = 0
    /// Nil when it needs none, and once it is closed.
    public var sealedNumber: SealedValue?
    /// An approval needs a session token.
    public var requiresSession = false
    /// It was made or pending while the identity was quiet, which ends then: nothing of it is pushed until a resend. Epoch
    /// milliseconds.
    public var quietUntilMs: Int64?
    /// SubjectPublicKeyInfo, DER: what ``signedAnswer`` is good under. The factor may be gone.
    public var responderKey: [UInt8]?
    /// Approvals that were signed by the device and had another number.
    public var wrongNumbers = 0

    /// Denied by wrong numbers: whoever held the device said yes.
    public var isDeniedByNumber: Bool { status == .denied && wrongNumbers >= StorePolicy.numberTries }

    package init(
        sid: ChallengeSID, account: AccountSID, service: ServiceSID, entity: EntitySID, identity: String,
        factor: FactorSID?, message: String, fields: String, hiddenDetails: String?, includesDate: Bool,
        expiresAtMs: Int64, createdAtMs: Int64, updatedAtMs: Int64, respondedAtMs: Int64?, status: ChallengeStatus,
        responder: FactorSID?, signedAnswer: String?, metadata: String?, fallbacks: [String], redelivery: Redelivery,
        requestID: String?, notifications: Int, actionKey: String? = nil, actionID: String? = nil,
        numberDigits: Int = 0, sealedNumber: SealedValue? = nil, requiresSession: Bool = false,
        quietUntilMs: Int64? = nil, responderKey: [UInt8]? = nil, wrongNumbers: Int = 0
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.entity = entity
        self.identity = identity
        self.factor = factor
        self.message = message
        self.fields = fields
        self.hiddenDetails = hiddenDetails
        self.includesDate = includesDate
        self.expiresAtMs = expiresAtMs
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
        self.respondedAtMs = respondedAtMs
        self.status = status
        self.responder = responder
        self.signedAnswer = signedAnswer
        self.metadata = metadata
        self.fallbacks = fallbacks
        self.redelivery = redelivery
        self.requestID = requestID
        self.notifications = notifications
        self.actionKey = actionKey
        self.actionID = actionID
        self.numberDigits = numberDigits
        self.sealedNumber = sealedNumber
        self.requiresSession = requiresSession
        self.quietUntilMs = quietUntilMs
        self.responderKey = responderKey
        self.wrongNumbers = wrongNumbers
    }
}

public struct ChallengeFilter: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    /// Only those addressed to this factor.
    public var factor: FactorSID?
    /// As it reads by the clock.
    public var status: ChallengeStatus?
    public var descending = false

    public init(account: AccountSID, service: ServiceSID, identity: String) {
        self.account = account
        self.service = service
        self.identity = identity
    }
}

public struct Answer: Sendable, Hashable {
    public var challenge: ChallengeSID
    /// Who signed it.
    public var factor: FactorSID
    public var isApproval: Bool
    public var signedAnswer: String
    /// JSON text, at most 1,024 bytes.
    public var metadata: String?
    /// As the person typed it.
    public var number: String?
    public var sessionToken: String?

    public init(
        challenge: ChallengeSID, factor: FactorSID, isApproval: Bool, signedAnswer: String, metadata: String? = nil
    ) {
        self.challenge = challenge
        self.factor = factor
        self.isApproval = isApproval
        self.signedAnswer = signedAnswer
        self.metadata = metadata
    }
}
