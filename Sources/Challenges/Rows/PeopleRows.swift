package import ChallengeModel

/// `entities`, `entity_purges` and `access_tokens`. An entity of a service that is marked as deleted does not exist for
/// the verbs, except where they say so.
package protocol EntityRows {
    /// - Parameter identity: the backend's name for the person, in any case, or the SID.
    func entity(account: AccountSID, service: ServiceSID, identity: String) throws -> Entity?
    /// Like `entity`, with the counters of the limits. It locks nothing: for reads only.
    func person(account: AccountSID, service: ServiceSID, identity: String) throws -> Person?
    /// Like `entity`, but locks the person: no other transaction can lock the person until this one has ended. It must
    /// be the first verb of every transaction that judges or changes a person's limits, challenges or devices.
    func lockedPerson(account: AccountSID, service: ServiceSID, identity: String) throws -> Person?
    /// Also finds a person of a service that is marked as deleted.
    func lockedPerson(_ entity: EntitySID) throws -> Person?
    /// The person that a challenge was created for; nil: there is no such challenge, or the person was deleted.
    func lockedPerson(ofChallenge sid: ChallengeSID) throws -> Person?
    /// The person who owns the factor, of any type.
    func lockedPerson(ofFactor sid: FactorSID) throws -> Person?
    func update(_ limits: PersonLimits, of entity: EntitySID) throws
    /// By SID.
    func entities(service: ServiceSID, page: PageRequest) throws -> Page<Entity>
    /// Some entities of a service, also when the service is marked as deleted. They are locked as persons; those that
    /// others have locked are left out.
    func someEntities(ofService service: ServiceSID, limit: Int) throws -> [Entity]
    func hasEntity(ofService service: ServiceSID) throws -> Bool
    /// Entities of an account whose SIDs lie in `range`.
    func countEntities(account: AccountSID, in range: Range<EntitySID>) throws -> Int
    func insert(_ entity: Entity) throws
    /// Deletes an entity, and records that the rest of its challenges must be deleted.
    func delete(_ entity: EntitySID) throws
    /// Any deleted entity whose challenges may still exist.
    func entityToPurge() throws -> EntitySID?
    func endPurge(of entity: EntitySID) throws

    func insert(_ token: AccessToken, secretHash: [UInt8], expiresAtMs: Int64) throws
    func accessToken(_ sid: AccessTokenSID, account: AccountSID, service: ServiceSID) throws -> AccessToken?
    func accessToken(secretHash: [UInt8]) throws -> AccessTokenUse?
    /// Counts one more factor that was created with the token.
    func countFactor(of token: AccessTokenSID) throws
    func spend(_ token: AccessTokenSID) throws
}

/// The scope of an access token, and the factors that were created with it.
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
    /// All factors of an entity, by SID.
    func factors(of entity: EntitySID) throws -> [Factor]
    /// The verified factors, by SID.
    func verifiedFactors(of entity: EntitySID) throws -> [Factor]
    func hasFactor(of entity: EntitySID, publicKey: [UInt8]) throws -> Bool
    func countFactors(of entity: EntitySID, like new: NewFactor) throws -> FactorCounts
    func insert(_ factor: Factor, accessToken: AccessTokenSID?) throws
    /// Updates everything that ``FactorChange`` can change, and the times.
    /// - Returns: how often the factor was updated, this time included.
    func update(_ factor: Factor) throws -> Int64
    func markVerified(_ sid: FactorSID, nowMs: Int64) throws
    /// Deletes a factor with its background pushes.
    func delete(_ sid: FactorSID) throws
    /// The access token that created the factor.
    func accessToken(ofFactor sid: FactorSID) throws -> AccessTokenSID?
    func unverifiedFactors(madeWith token: AccessTokenSID) throws -> [Factor]
    /// The oldest first.
    /// - Parameter entity: nil: of all; then their persons are locked, those whose person others have locked are left
    ///   out, and what
    ///   they are under the lock is to be read again.
    func unverifiedFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [Factor]
    /// Stores the time of a signed request, unless a later time is stored.
    func noteSigned(_ sid: FactorSID, nowMs: Int64) throws
    /// Records that the device has sent a receipt of its own.
    func noteReceipt(of sid: FactorSID) throws

    func wrongNumbers(of sid: FactorSID) throws -> NumberGuesses
    func setWrongNumbers(_ guesses: NumberGuesses, of sid: FactorSID) throws

    /// Marks the push token of a factor as dead since `atMs`.
    func markUnreachable(_ sid: FactorSID, atMs: Int64, credential: CredentialSID, purgeAtMs: Int64) throws
    func markReachable(_ sid: FactorSID) throws
    /// Removes all marks that were set under a credential after `sinceMs`.
    func markReachable(under credential: CredentialSID, sinceMs: Int64) throws
    func countUnreachable(under credential: CredentialSID, sinceMs: Int64) throws -> Int64
    /// The factors that are due, in order of their time. Their persons are locked, those whose person others have
    /// locked are left out, and what they are under the lock is to be read again.
    func factorsToPurge(untilMs: Int64, limit: Int) throws -> [(factor: Factor, credential: CredentialSID?)]
    func setPurge(_ sid: FactorSID, atMs: Int64) throws

    /// Background pushes reserved on a device after `sinceMs`.
    func countBackgroundGrants(of sid: FactorSID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertBackgroundGrant(of sid: FactorSID, challenge: ChallengeSID, sinceMs: Int64, nowMs: Int64) throws

    /// The number of factors of any type that were created after `sinceMs`.
    func countFactorCreations(of entity: EntitySID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertFactorCreation(_ sid: FactorSID, of entity: EntitySID, sinceMs: Int64, nowMs: Int64) throws
    func deleteFactorCreations(of entity: EntitySID) throws
}

/// The factors of an entity.
package struct FactorCounts: Sendable, Hashable {
    package let unverified: Int
    package let verified: Int
    /// Verified factors with the same push token, platform and app.
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
    /// The secrets of all code factors of an entity.
    func codeSecrets(of entity: EntitySID) throws -> [(sid: FactorSID, secret: SealedValue)]
    func codeFactors(of entity: EntitySID) throws -> [CodeFactor]
    func insert(_ factor: CodeFactor, secret: SealedValue) throws
    /// Updates everything that ``CodeFactorChange`` can change.
    /// - Returns: how often the factor was updated, this time included.
    func update(_ factor: CodeFactor) throws -> Int64
    func markCodeFactorVerified(_ sid: FactorSID, nowMs: Int64) throws
    func setUsedStep(_ step: Int64, ofCodeFactor sid: FactorSID) throws
    func setAttempts(_ attempts: Int, ofCodeFactor sid: FactorSID) throws
    /// Deletes a code factor with its counters.
    func deleteCodeFactor(_ sid: FactorSID) throws
    /// The oldest first.
    /// - Parameter entity: nil: of all; then their persons are locked, those whose person others have locked are left
    ///   out, and what
    ///   they are under the lock is to be read again.
    func unverifiedCodeFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [CodeFactor]
    /// Factors of both types, by creation.
    func allFactors(entity: EntitySID, page: PageRequest) throws -> Page<AnyFactor>

    /// The number of challenges that were created for a factor after `sinceMs`.
    func countCodeChallenges(of factor: FactorSID, sinceMs: Int64) throws -> Int
    /// Older ones than `sinceMs` go.
    func insertCodeChallenge(_ sid: ChallengeSID, of factor: FactorSID, sinceMs: Int64, nowMs: Int64) throws
    /// The number of wrong codes for a challenge.
    func codeAttempts(of challenge: ChallengeSID) throws -> Int
    func countCodeAttempt(of challenge: ChallengeSID) throws
}

/// The secret of a code factor, and its use.
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
