public import ChallengeModel

/// What the API's extensions need of the store beside challenges themselves.
public protocol PolicyStore: Sendable {
    /// Makes a challenge, or finds the one that the request stands for: resolves the targets, stores, and writes dispatch `c` and
    /// `challenge.created`, all in one transaction with the limits it counts against and the keys it is found by.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `noVerifiedFactor`, `factorRequired`; `loosened` when it asks for less than
    ///   the service demands; `limited`; `idempotencyConflict`; `alreadyExpired` when it has a request id that made nothing
    ///   before, and its expiry has come; `requestClosed` when its request id was rejected, or made a challenge that is gone.
    func create(_ new: NewChallenge, nowMs: Int64) async throws -> ChallengeCreation
    /// A request that makes no challenge: writes `request.rejected`, and keeps that as the one result of its id for as long as a
    /// challenge would be kept.
    /// - Parameter service: the one whose ids these are; what is no SID stands for none, and the event names none.
    /// - Returns: false when the id has its result already: then nothing is written.
    func rejectRequest(
        _ requestID: String, account: AccountSID, service: String, eventID: String, data: [String: EventValue],
        nowMs: Int64
    ) async throws -> Bool
    /// The number of a pending challenge, for backends that may create some; nil: it has none.
    func number(of challenge: Challenge) throws -> String?
    /// The backend needs no answer any more. A challenge that was canceled before is returned as it is.
    /// - Throws: `alreadyResponded`, `alreadyExpired`, `notFound(.challenge)`.
    func cancelChallenge(_ sid: ChallengeSID, nowMs: Int64) async throws -> Challenge
    /// What an idempotency key made within its life.
    /// - Throws: `idempotencyConflict` when that was another request.
    func challenge(madeWith key: IdempotencyKey, nowMs: Int64) async throws -> Challenge?

    /// The person is signed in: good for the approval of one challenge.
    /// - Returns: the token, 43 characters of base64url: 256 random bits, kept as a hash only.
    /// - Throws: `notFound(.entity)`, `notFound(.factor)`.
    func createSessionToken(_ new: NewSessionToken, nowMs: Int64) async throws -> String
}

extension PolicyStore {
    /// ``create(_:nowMs:)`` for who does not ask how it came about.
    public func createChallenge(_ new: NewChallenge, nowMs: Int64) async throws -> (Challenge, isNew: Bool) {
        let creation = try await create(new, nowMs: nowMs)
        return (creation.challenge, creation.outcome == .created)
    }
}

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

/// The number that a person reads off the backend's page and types into the app, as it is kept.
public struct SealedNumber: Sendable, Hashable {
    let keyID: String
    let sealed: [UInt8]
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
