package import ChallengeModel

/// `challenges`.
package protocol ChallengeRows {
    func challenge(_ sid: ChallengeSID) throws -> StoredChallenge?
    /// The challenges of one entity, by SID.
    func challenges(_ filter: ChallengeFilter, entity: EntitySID, page: PageRequest, nowMs: Int64) throws -> Page<
        Challenge
    >
    /// The challenge of an action that is stored as pending; at most one exists.
    func pendingChallenge(ofAction key: String, entity: EntitySID) throws -> StoredChallenge?
    /// All challenges of an entity that are stored as pending, by SID.
    func pendingChallenges(of entity: EntitySID) throws -> [StoredChallenge]
    /// The expiries of an entity's pushed challenges that are pending at `nowMs`; at most `limit`, in no particular
    /// order.
    /// - Parameter madeIn: the SIDs to look at. A store that keeps challenges by days reads only these days.
    func pendingExpiries(
        of entity: EntitySID, madeIn: Range<ChallengeSID>, nowMs: Int64, limit: Int
    ) throws -> [Int64]
    func insert(_ challenge: Challenge, traceparent: String?) throws
    /// The compare-and-set: writes status, times and answer of a challenge that is stored as pending.
    /// - Parameter isExpired: true: the challenge must have expired at `nowMs`. False: it must not have expired.
    /// - Returns: false when the challenge is no longer pending, or does not meet this condition.
    func close(_ challenge: Challenge, isExpired: Bool, nowMs: Int64) throws -> Bool
    /// Counts one more resend, and clears the quiet time of the challenge.
    func countResend(of sid: ChallengeSID, nowMs: Int64) throws
    /// - Returns: the number of wrong numbers, including this one.
    func countWrongNumber(of sid: ChallengeSID) throws -> Int
    /// Sets the quiet time of all pushed challenges of an entity that are pending at `nowMs`.
    func setQuiet(of entity: EntitySID, untilMs: Int64, nowMs: Int64) throws
    /// Stored as pending and expired, the first expired first. Their persons are locked, and those whose person others
    /// have locked are left out.
    func expiredChallenges(nowMs: Int64, limit: Int) throws -> [ChallengeSID]
    /// The version texts of challenges, in the given order. A text changes with every change of the challenge and its
    /// facts. Nil: the challenge was deleted.
    func challengeVersions(_ challenges: [ChallengeSID]) throws -> [String?]
    /// The oldest challenges, if they were created until then and are closed; none in a store that keeps them by days.
    func closedChallenges(createdUntilMs: Int64, limit: Int) throws -> [ChallengeSID]
    func someChallenges(of entity: EntitySID, limit: Int) throws -> [ChallengeSID]
    /// Deletes challenges with their targets, attempts and facts.
    func delete(_ challenges: [ChallengeSID]) throws
}

/// A challenge in the form of its row.
package struct StoredChallenge: Sendable, Hashable {
    package var challenge: Challenge
    package let traceparent: String?

    package init(challenge: Challenge, traceparent: String?) {
        self.challenge = challenge
        self.traceparent = traceparent
    }
}

/// `challenge_targets`: the factors that a challenge is addressed to.
package protocol TargetRows {
    /// - Parameter backgroundBudget: background pushes that the challenge may use on the device.
    func insertTarget(_ factor: FactorSID, of challenge: ChallengeSID, backgroundBudget: Int) throws
    func isTarget(_ factor: FactorSID, of challenge: ChallengeSID) throws -> Bool
    /// By factor.
    func targets(of challenge: ChallengeSID) throws -> [(factor: FactorSID, backgroundBudget: Int)]
    /// Those of the challenges that are addressed to the factor, pending at `nowMs`, and not yet polled by it.
    func unpolled(_ challenges: [ChallengeSID], by factor: FactorSID, nowMs: Int64) throws -> [ChallengeSID]
    /// - Returns: false when the factor has polled the challenge before.
    func markPolled(_ challenge: ChallengeSID, by factor: FactorSID) throws -> Bool
    /// The factor's targets of challenges that are pending at `nowMs`, by challenge.
    func liveTargets(ofFactor factor: FactorSID, entity: EntitySID, nowMs: Int64) throws -> [LiveTarget]
    /// The entity's targets of pushed challenges that are pending at `nowMs`, by challenge and factor.
    func liveTargets(of entity: EntitySID, nowMs: Int64) throws -> [LiveTarget]
}

/// A device that a live challenge is addressed to.
package struct LiveTarget: Sendable, Hashable {
    package let challenge: ChallengeSID
    package let expiresAtMs: Int64
    package let traceparent: String?
    package let factor: FactorSID
    package let backgroundBudget: Int

    package init(
        challenge: ChallengeSID, expiresAtMs: Int64, traceparent: String?, factor: FactorSID, backgroundBudget: Int
    ) {
        self.challenge = challenge
        self.expiresAtMs = expiresAtMs
        self.traceparent = traceparent
        self.factor = factor
        self.backgroundBudget = backgroundBudget
    }
}

/// `request_ids`, `idempotency_keys`, `session_tokens` and `device_requests`: the rows that make a request take effect
/// only once.
package protocol OnceRows {
    /// Nobody else's transaction looks what a request id has made, or remembers it, until this one has ended. First of
    /// all.
    func lockRequest(_ requestID: String, account: AccountSID, service: String) throws
    /// Likewise an idempotency key. Behind the request id, before the person.
    func lock(_ key: IdempotencyKey) throws
    /// The result of a request id since then; nil: the id is unused.
    func requestResult(
        _ requestID: String, account: AccountSID, service: String, sinceMs: Int64
    ) throws -> RequestResult?
    /// Stores the result, and replaces an older one.
    func remember(
        _ requestID: String, account: AccountSID, service: String, _ result: RequestResult, nowMs: Int64
    ) throws
    /// The challenge that an idempotency key has created since then; nil: the key is unused.
    func idempotentRequest(_ key: [UInt8], sinceMs: Int64) throws -> (request: [UInt8], challenge: ChallengeSID)?
    /// Stores the key, and replaces an older one.
    func remember(_ key: IdempotencyKey, made challenge: ChallengeSID, nowMs: Int64) throws

    func insertSessionToken(_ secretHash: [UInt8], _ token: SessionToken) throws
    func sessionToken(_ secretHash: [UInt8]) throws -> SessionToken?
    /// - Returns: false when the token is bound to another challenge.
    func bindSessionToken(_ secretHash: [UInt8], to challenge: ChallengeSID) throws -> Bool

    /// Stores the first request with a device's token.
    /// - Returns: the request that was stored before; nil: this is the first.
    func claim(_ request: TokenUse) throws -> [UInt8]?
    /// The request with a device's token that has not expired at `nowMs`.
    func tokenUse(_ fingerprint: [UInt8], nowMs: Int64) throws -> [UInt8]?
}

/// The result of a request id.
package enum RequestResult: Sendable, Hashable {
    /// It created this challenge, or this live challenge was returned for it.
    case challenge(ChallengeSID)
    case rejected
}

/// The use of a session token.
package struct SessionToken: Sendable, Hashable {
    package let account: AccountSID
    package let service: ServiceSID
    package let entity: EntitySID
    /// Nil: any factor of the entity.
    package let factor: FactorSID?
    /// The one challenge that it was used for; nil: none yet.
    package let challenge: ChallengeSID?
    package let expiresAtMs: Int64

    package init(
        account: AccountSID, service: ServiceSID, entity: EntitySID, factor: FactorSID?, challenge: ChallengeSID?,
        expiresAtMs: Int64
    ) {
        self.account = account
        self.service = service
        self.entity = entity
        self.factor = factor
        self.challenge = challenge
        self.expiresAtMs = expiresAtMs
    }
}
