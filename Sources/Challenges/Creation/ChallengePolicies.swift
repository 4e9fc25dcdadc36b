public import ChallengeModel

/// The result of a request for a challenge.
public struct ChallengeCreation: Sendable {
    public enum Outcome: Sendable, Hashable {
        case created
        /// The live challenge of the same action is returned instead of a new one.
        case reused
        /// The request id has already created this challenge.
        case repeated
        /// The idempotency key has already created this challenge.
        case replayed
    }

    public let challenge: Challenge
    public let outcome: Outcome
    /// How many more challenges the identity may get; nil: nothing was counted.
    public var allowance: CreationAllowance?

    public init(challenge: Challenge, outcome: Outcome, allowance: CreationAllowance? = nil) {
        self.challenge = challenge
        self.outcome = outcome
        self.allowance = allowance
    }
}

/// The state of an identity's limit of creations.
public struct CreationAllowance: Sendable, Hashable {
    /// Creations that are possible at once.
    public let limit: Int
    /// Creations that are left now.
    public let remaining: Int
    /// Seconds until all are available again.
    public let resetSeconds: Int

    public init(limit: Int, remaining: Int, resetSeconds: Int) {
        self.limit = limit
        self.remaining = remaining
        self.resetSeconds = resetSeconds
    }
}

/// A creation or resend that would ring a phone too often.
public struct LimitRefusal: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        case creations
        /// Too many challenges of the identity are pending.
        case pending
        /// The person denied too often, so nothing is pushed for a while.
        case quiet
        /// Too many wrong numbers were sent, so no approval that needs a number counts for a while.
        case numbers
    }

    public let kind: Kind
    /// Seconds until a retry can succeed.
    public let retryAfterSeconds: Int
    public let allowance: CreationAllowance?
    /// Fall-backs, which are not limited.
    public let fallbacks: [String]

    public init(kind: Kind, retryAfterSeconds: Int, allowance: CreationAllowance?, fallbacks: [String]) {
        self.kind = kind
        self.retryAfterSeconds = retryAfterSeconds
        self.allowance = allowance
        self.fallbacks = fallbacks
    }
}

/// The limits against push bombing, per identity. They are counted in the store, so they apply over all Producers.
public struct ChallengeLimits: Sendable, Hashable {
    /// Creations at once; 0: no limit.
    public var burst = 20
    /// Time after which one more creation is possible.
    public var intervalMs: Int64 = 15_000
    /// Challenges that may be pending at the same time; 0: no limit.
    public var pending = 10
    /// Denials within ``denialWindowMs`` that stop pushes; 0: pushes never stop.
    public var denials = 3
    public var denialWindowMs: Int64 = 600_000
    /// How long pushes stop.
    public var quietMs: Int64 = 900_000
    /// Wrong numbers of one factor within ``guessWindowMs`` after which it cannot approve challenges that need a
    /// number; 0: no limit.
    public var factorGuesses = 6
    /// The same for all factors of an identity together.
    public var identityGuesses = 12
    public var guessWindowMs: Int64 = 86_400_000

    public init() {}

    /// No limits, for measurements that create thousands of challenges for one identity.
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

/// Requirements of a service for an approval. A challenge may only tighten them.
public enum ApprovalRule: String, Sendable, Hashable {
    case number
    case numberDigits
    case session
}

/// The reason why a signed approval does not count.
public enum ApprovalRefusal: Sendable, Hashable {
    case numberMissing
    /// - Parameter left: the number of tries that are left.
    case numberWrong(left: Int)
    /// The number was wrong for the third time, so the challenge is denied.
    case numberWrongDenied
    /// Too many wrong numbers were sent by the device or for the identity. No number is checked before `untilMs`.
    case numbersClosed(untilMs: Int64)
    case sessionMissing
    case sessionWrong
}

/// Identifies a request that creates at most one challenge.
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
