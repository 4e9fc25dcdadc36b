package import ChallengeModel

/// `entities`, `entity_purges` and `access_tokens`. An entity of a service that is marked as deleted is none.
package protocol EntityRows {
    /// - Parameter identity: the customer's string in whatever case, or the SID.
    func entity(account: AccountSID, service: ServiceSID, identity: String) throws -> Entity?
    /// The same, and nobody else's transaction judges the person until this one has ended. First in every transaction that
    /// reads or changes what a person's limits, challenges or devices are judged by.
    func lockedPerson(account: AccountSID, service: ServiceSID, identity: String) throws -> Person?
    /// Also of a service that is marked as deleted.
    func lockedPerson(_ entity: EntitySID) throws -> Person?
    /// The person that a challenge was made for; nil: there is no such challenge, or the person was deleted.
    func lockedPerson(ofChallenge sid: ChallengeSID) throws -> Person?
    /// The person whose factor it is, of any type.
    func lockedPerson(ofFactor sid: FactorSID) throws -> Person?
    func update(_ limits: PersonLimits, of entity: EntitySID) throws
    /// By SID.
    func entities(service: ServiceSID, page: PageRequest) throws -> Page<Entity>
    /// Of a service that is marked as deleted too. They are locked as persons; those that others have locked are left out.
    func someEntities(ofService service: ServiceSID, limit: Int) throws -> [Entity]
    func hasEntity(ofService service: ServiceSID) throws -> Bool
    /// Entities of an account whose SIDs lie in `range`.
    func countEntities(account: AccountSID, in range: Range<EntitySID>) throws -> Int
    func insert(_ entity: Entity) throws
    /// Notes that what is left of its challenges is to be taken away.
    func delete(_ entity: EntitySID) throws
    /// Any one that was deleted and whose challenges may be there still.
    func entityToPurge() throws -> EntitySID?
    func endPurge(of entity: EntitySID) throws

    func insert(_ token: AccessToken, secretHash: [UInt8], expiresAtMs: Int64) throws
    func accessToken(_ sid: AccessTokenSID, account: AccountSID, service: ServiceSID) throws -> AccessToken?
    func accessToken(secretHash: [UInt8]) throws -> AccessTokenUse?
    /// One more factor was made with it.
    func countFactor(of token: AccessTokenSID) throws
    func spend(_ token: AccessTokenSID) throws
}

/// What an access token is good for, and what was made with it.
package struct AccessTokenUse: Sendable, Hashable {
    package let sid: AccessTokenSID
    package let account: AccountSID
    package let service: ServiceSID
    package let identity: String
    package let expiresAtMs: Int64
    package let isSpent: Bool
    package let factors: Int

    package init(
        sid: AccessTokenSID, account: AccountSID, service: ServiceSID, identity: String, expiresAtMs: Int64,
        isSpent: Bool, factors: Int
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.identity = identity
        self.expiresAtMs = expiresAtMs
        self.isSpent = isSpent
        self.factors = factors
    }
}

/// `factors`, `background_grants` and `factor_creations`.
package protocol FactorRows {
    func factor(_ sid: FactorSID) throws -> Factor?
    func factor(_ sid: FactorSID, entity: EntitySID) throws -> Factor?
    func factor(keyID: String) throws -> Factor?
    /// By SID.
    func factors(entity: EntitySID, page: PageRequest) throws -> Page<Factor>
    /// All of an entity, by SID.
    func factors(of entity: EntitySID) throws -> [Factor]
    /// The verified ones, by SID.
    func verifiedFactors(of entity: EntitySID) throws -> [Factor]
    func hasFactor(of entity: EntitySID, publicKey: [UInt8]) throws -> Bool
    func countFactors(of entity: EntitySID, like new: NewFactor) throws -> FactorCounts
    func insert(_ factor: Factor, accessToken: AccessTokenSID?) throws
    /// What ``FactorChange`` can change, and the times.
    /// - Returns: how often the factor was updated, this time included.
    func update(_ factor: Factor) throws -> Int64
    func markVerified(_ sid: FactorSID, nowMs: Int64) throws
    /// With its background pushes.
    func delete(_ sid: FactorSID) throws
    /// The access token that it was made with.
    func accessToken(ofFactor sid: FactorSID) throws -> AccessTokenSID?
    func unverifiedFactors(madeWith token: AccessTokenSID) throws -> [Factor]
    /// The oldest first.
    /// - Parameter entity: nil: of all; then their persons are locked, those whose person others have locked are left out, and what
    ///   they are under the lock is to be read again.
    func unverifiedFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [Factor]
    /// Keeps the later time.
    func noteSigned(_ sid: FactorSID, nowMs: Int64) throws

    func wrongNumbers(of sid: FactorSID) throws -> NumberGuesses
    func setWrongNumbers(_ guesses: NumberGuesses, of sid: FactorSID) throws

    /// Its push token is dead since `atMs`.
    func markUnreachable(_ sid: FactorSID, atMs: Int64, credential: CredentialSID, purgeAtMs: Int64) throws
    func markReachable(_ sid: FactorSID) throws
    /// All that were marked under a credential after `sinceMs`.
    func markReachable(under credential: CredentialSID, sinceMs: Int64) throws
    func countUnreachable(under credential: CredentialSID, sinceMs: Int64) throws -> Int64
    /// The first due first. Their persons are locked, those whose person others have locked are left out, and what they are under
    /// the lock is to be read again.
    func factorsToPurge(untilMs: Int64, limit: Int) throws -> [(factor: Factor, credential: CredentialSID?)]
    func setPurge(_ sid: FactorSID, atMs: Int64) throws

    /// Background pushes reserved on a device after `sinceMs`.
    func countBackgroundGrants(of sid: FactorSID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertBackgroundGrant(of sid: FactorSID, challenge: ChallengeSID, sinceMs: Int64, nowMs: Int64) throws

    /// Factors of any type made after `sinceMs`.
    func countFactorCreations(of entity: EntitySID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertFactorCreation(_ sid: FactorSID, of entity: EntitySID, sinceMs: Int64, nowMs: Int64) throws
    func deleteFactorCreations(of entity: EntitySID) throws
}

/// The factors of an entity.
package struct FactorCounts: Sendable, Hashable {
    package let unverified: Int
    package let verified: Int
    /// Verified ones with the same push token, platform and app.
    package let verifiedAlike: Int

    package init(unverified: Int, verified: Int, verifiedAlike: Int) {
        self.unverified = unverified
        self.verified = verified
        self.verifiedAlike = verifiedAlike
    }
}

/// `code_factors`, `code_creations` and `code_attempts`.
package protocol CodeFactorRows {
    func codeFactor(_ sid: FactorSID) throws -> CodeFactor?
    func codeFactor(_ sid: FactorSID, entity: EntitySID) throws -> CodeFactor?
    /// Nil: there is no such factor.
    func codeSecret(of sid: FactorSID) throws -> CodeSecret?
    /// Of all code factors of an entity.
    func codeSecrets(of entity: EntitySID) throws -> [(sid: FactorSID, secret: SealedValue)]
    func codeFactors(of entity: EntitySID) throws -> [CodeFactor]
    func insert(_ factor: CodeFactor, secret: SealedValue) throws
    /// What ``CodeFactorChange`` can change.
    /// - Returns: how often the factor was updated, this time included.
    func update(_ factor: CodeFactor) throws -> Int64
    func markCodeFactorVerified(_ sid: FactorSID, nowMs: Int64) throws
    func setUsedStep(_ step: Int64, ofCodeFactor sid: FactorSID) throws
    func setAttempts(_ attempts: Int, ofCodeFactor sid: FactorSID) throws
    /// With what was counted of it.
    func deleteCodeFactor(_ sid: FactorSID) throws
    /// The oldest first.
    /// - Parameter entity: nil: of all; then their persons are locked, those whose person others have locked are left out, and what
    ///   they are under the lock is to be read again.
    func unverifiedCodeFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [CodeFactor]
    /// Factors of both types, by creation.
    func allFactors(entity: EntitySID, page: PageRequest) throws -> Page<AnyFactor>

    /// Challenges made of a factor after `sinceMs`.
    func countCodeChallenges(of factor: FactorSID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertCodeChallenge(_ sid: ChallengeSID, of factor: FactorSID, sinceMs: Int64, nowMs: Int64) throws
    /// Wrong codes of a challenge.
    func codeAttempts(of challenge: ChallengeSID) throws -> Int
    func countCodeAttempt(of challenge: ChallengeSID) throws
}

/// The secret of a code factor, and how it was used.
package struct CodeSecret: Sendable, Hashable {
    package let sealed: SealedValue
    /// The last step whose code was used; negative: none.
    package let usedStep: Int64
    /// Wrong codes since the last right one.
    package let attempts: Int

    package init(sealed: SealedValue, usedStep: Int64, attempts: Int) {
        self.sealed = sealed
        self.usedStep = usedStep
        self.attempts = attempts
    }
}
