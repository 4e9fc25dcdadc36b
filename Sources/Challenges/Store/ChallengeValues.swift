public import ChallengeModel

public struct NewChallenge: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    /// The factor that the challenge is for. Nil: all push factors of the identity that are verified now.
    public var factor: FactorSID?
    public var message: String
    /// JSON text: `[{"label":…,"value":…}]`.
    public var fields = "[]"
    /// JSON text of an object of strings.
    public var hiddenDetails: String?
    public var expiresAtMs: Int64
    public var fallbacks: [String] = []
    /// Zeros mean the defaults.
    public var redelivery = Redelivery()
    public var requestID: String?
    public var traceparent: String?
    /// Names one attempt of a person, 1 to 128 characters. Nil: the challenge belongs to no action.
    public var actionKey: String?
    /// Nil: as the service says.
    public var requiresNumber: Bool?
    /// Digits of the number, 2 to 6. Nil: the service decides.
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
    /// The one factor that the challenge was created for; nil for a fan-out.
    public let factor: FactorSID?
    public let message: String
    public let fields: String
    public let hiddenDetails: String?
    /// Whether `details.date` is shown.
    public let includesDate: Bool
    public let expiresAtMs: Int64
    public let createdAtMs: Int64
    public var updatedAtMs: Int64
    public var respondedAtMs: Int64?
    /// The stored status. A pending challenge whose expiry has passed is still stored as pending, see
    /// `ChallengeLifecycle.status`.
    public var status: ChallengeStatus
    public var responder: FactorSID?
    /// The JWT that answered the challenge.
    public var signedAnswer: String?
    public var metadata: String?
    public let fallbacks: [String]
    public let redelivery: Redelivery
    public let requestID: String?
    public var notifications: Int
    public var actionKey: String?
    /// The random identifier by which devices recognise the action. Challenges that replace each other in one action
    /// have the same value. Nil: no action.
    public var actionID: String?
    /// Digits of the number that an approval needs; 0: no number.
    public var numberDigits = 0
    /// The sealed number. Nil when the challenge needs none, and after it is closed.
    public var sealedNumber: SealedValue?
    /// Whether an approval needs a session token.
    public var requiresSession = false
    /// Set when the challenge was created or pending while the identity was quiet: the end of the quiet time in epoch
    /// milliseconds. The challenge is not pushed until a resend.
    public var quietUntilMs: Int64?
    /// The public key that verifies ``signedAnswer``: SubjectPublicKeyInfo, DER. The factor itself may be deleted.
    public var responderKey: [UInt8]?
    /// Number of approvals that the device signed with a wrong number.
    public var wrongNumbers = 0

    /// Whether wrong numbers denied the challenge. The holder of the device had approved it.
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
    /// Only challenges that are addressed to this factor.
    public var factor: FactorSID?
    /// The status at the current time, including expiry.
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
    /// The factor that signed the answer.
    public var factor: FactorSID
    public var isApproval: Bool
    public var signedAnswer: String
    /// JSON text, at most 1,024 bytes.
    public var metadata: String?
    /// The number as the person typed it.
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
