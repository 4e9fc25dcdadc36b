public import ChallengeModel

/// What became of a request for a challenge.
public struct ChallengeCreation: Sendable {
    public enum Outcome: Sendable, Hashable {
        case created
        /// The live challenge of its action stands for it.
        case reused
        /// Its request id made this challenge before.
        case repeated
        /// Its idempotency key made this challenge before.
        case replayed
    }

    public let challenge: Challenge
    public let outcome: Outcome
    /// How much more the identity may be asked; nil: nothing was counted.
    public var allowance: CreationAllowance?

    public init(challenge: Challenge, outcome: Outcome, allowance: CreationAllowance? = nil) {
        self.challenge = challenge
        self.outcome = outcome
        self.allowance = allowance
    }
}

/// Where an identity stands under the limit of creations.
public struct CreationAllowance: Sendable, Hashable {
    /// Creations at once.
    public let limit: Int
    /// Of those left now.
    public let remaining: Int
    /// Until all are there again.
    public let resetSeconds: Int

    public init(limit: Int, remaining: Int, resetSeconds: Int) {
        self.limit = limit
        self.remaining = remaining
        self.resetSeconds = resetSeconds
    }
}

/// A creation or resend that would ring a phone too often.
public struct LimitRefusal: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable {
        case creations
        /// Too many challenges of the identity are pending.
        case pending
        /// The person denied too often: nothing is pushed for a while.
        case quiet
        /// Too many wrong numbers: no approval that needs a number counts for a while.
        case numbers
    }

    public let kind: Kind
    /// From when it may be tried again.
    public let retryAfterSeconds: Int
    public let allowance: CreationAllowance?
    /// Ways that are not limited.
    public let fallbacks: [String]

    public init(kind: Kind, retryAfterSeconds: Int, allowance: CreationAllowance?, fallbacks: [String]) {
        self.kind = kind
        self.retryAfterSeconds = retryAfterSeconds
        self.allowance = allowance
        self.fallbacks = fallbacks
    }
}

/// The limits against push bombing, per identity. They are counted in the store, so that any number of Producers keep them
/// together.
public struct ChallengeLimits: Sendable, Hashable {
    /// Creations at once; 0: no limit.
    public var burst = 20
    /// From one more creation to the next.
    public var intervalMs: Int64 = 15_000
    /// Challenges pending at once; 0: no limit.
    public var pending = 10
    /// Denials within ``denialWindowMs`` that stop pushes; 0: never.
    public var denials = 3
    public var denialWindowMs: Int64 = 600_000
    /// For how long they are stopped.
    public var quietMs: Int64 = 900_000
    /// Wrong numbers of one factor within ``guessWindowMs`` after which it can approve nothing that needs a number; 0: no limit.
    public var factorGuesses = 6
    /// The same of all factors of an identity together.
    public var identityGuesses = 12
    public var guessWindowMs: Int64 = 86_400_000

    public init() {}

    /// For measurements that ask one identity for thousands.
    public static var none: ChallengeLimits {
        var limits = ChallengeLimits()
        limits.burst = 0
        limits.pending = 0
        limits.denials = 0
        limits.factorGuesses = 0
        limits.identityGuesses = 0
        return limits
    }
}

/// What a service demands of an approval and a challenge may only tighten.
public enum ApprovalRule: String, Sendable, Hashable {
    case number
    case numberDigits
    case session
}

/// Why a signed approval does not count yet.
public enum ApprovalRefusal: Sendable, Hashable {
    case numberMissing
    /// - Parameter left: further tries.
    case numberWrong(left: Int)
    /// The third time: the challenge is denied.
    case numberWrongDenied
    /// Too many wrong numbers were sent by the device, or for the identity: none is looked at before then.
    case numbersClosed(untilMs: Int64)
    case sessionMissing
    case sessionWrong
}

/// One request that makes a challenge at most once.
public struct IdempotencyKey: Sendable, Hashable {
    /// SHA-256 over account, method, path and key.
    public let key: [UInt8]
    /// SHA-256 over the parameters.
    public let request: [UInt8]

    public init(key: [UInt8], request: [UInt8]) {
        self.key = key
        self.request = request
    }
}

public struct NewSessionToken: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    /// Nil: any factor of the identity.
    public var factor: FactorSID?
    /// 30 to 300.
    public var ttlSeconds: Int

    public init(
        account: AccountSID, service: ServiceSID, identity: String, factor: FactorSID? = nil, ttlSeconds: Int = 120
    ) {
        self.account = account
        self.service = service
        self.identity = identity
        self.factor = factor
        self.ttlSeconds = ttlSeconds
    }
}
