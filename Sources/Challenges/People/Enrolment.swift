import ChallengeModel

/// Rules for the enrolment of devices, and for the number of devices of a person: `Push.MaxFactors` and `Push.WhenFull`
/// of the service. Only verified factors count. A device that enrols again replaces its former factor.
extension Decision {
    func enrol(_ new: NewFactor, as sid: FactorSID, accessToken secret: String?) throws -> Factor {
        let existing = try lockPlace(account: new.account, service: new.service, identity: new.identity)
        guard let policy = try rows.service(new.service, account: new.account)?.policy else {
            throw StoreError.notFound(.service)
        }
        if existing == nil, EntitySID(new.identity) != nil { throw StoreError.notFound(.entity) }
        let token = try secret.map {
            try useAccessToken($0, for: new, identity: existing?.entity.identity ?? new.identity)
        }
        // The holder of the access token is the actor.
        var holder = caller
        if let token { holder.actor = token.rawValue }
        let entity =
            try existing?.entity
            ?? on(behalfOf: holder) {
                try insertEntity(account: new.account, service: new.service, identity: new.identity)
            }
        try pruneUnverified(of: entity.sid, limit: 100)
        guard try !rows.hasFactor(of: entity.sid, publicKey: new.publicKey) else { throw StoreError.conflict(.factor) }
        try admit(new, of: entity.sid, policy: policy)
        try countFactorCreation(sid, of: entity.sid)
        let factor = Factor(
            sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
            friendlyName: new.friendlyName, isVerified: false, publicKey: new.publicKey, keyID: newSID(),
            platform: new.platform, pushToken: new.platform == .noPush ? nil : new.pushToken, appID: new.appID,
            environment: new.environment, sdkVersion: new.sdkVersion, notificationsEnabled: new.notificationsEnabled,
            metadata: new.metadata, registeredAtMs: nowMs, createdAtMs: nowMs, updatedAtMs: nowMs, signedAtMs: nowMs,
            isSilent: true)
        try rows.insert(factor, accessToken: token)
        try on(behalfOf: holder) { try emit(.factorCreated, .push(factor)) }
        return factor
    }

    /// Checks an access token and counts one more factor that it creates.
    /// - Parameter identity: the identity in the spelling of the entity.
    private func useAccessToken(_ secret: String, for new: NewFactor, identity: String) throws -> AccessTokenSID {
        guard let token = try rows.accessToken(secretHash: Self.hash(secret)), token.account == new.account,
            token.service == new.service, StorePolicy.isSameIdentity(token.identity, identity),
            token.expiresAtMs > nowMs, !token.isSpent, token.factors < StorePolicy.factorsPerAccessToken
        else { throw StoreError.accessTokenRefused }
        try rows.countFactor(of: token.sid)
        return token.sid
    }

    /// Checks that one more factor may be created. Unverified factors have their own bound, and do not block a
    /// verification.
    /// - Throws: `factorLimit`.
    private func admit(_ new: NewFactor, of entity: EntitySID, policy: ServicePolicy) throws {
        let counts = try rows.countFactors(of: entity, like: new)
        let others = counts.verified - counts.verifiedAlike
        switch policy.whenFull {
        case .refuse:
            guard others < policy.maxFactors else { throw StoreError.factorLimit(bound: policy.maxFactors) }
            try requireRoom(others + counts.unverified)
        case .replaceOldest: try requireRoom(counts.unverified)
        }
    }

    private func requireRoom(_ factors: Int) throws(StoreError) {
        guard factors < StorePolicy.factorsPerEntity else { throw .factorLimit(bound: StorePolicy.factorsPerEntity) }
    }

    /// Keeps the bound when a factor is verified, because several factors may have been created while there was room
    /// for one.
    /// - Throws: `factorLimit` when the service refuses.
    func makeRoom(for factor: Factor) throws {
        guard let policy = try rows.service(factor.service, account: factor.account)?.policy else {
            throw StoreError.notFound(.service)
        }
        let others = try rows.verifiedFactors(of: factor.entity).filter { $0.sid != factor.sid }
        let surplus = others.count - (policy.maxFactors - 1)
        guard surplus > 0 else { return }
        guard policy.whenFull == .replaceOldest else { throw StoreError.factorLimit(bound: policy.maxFactors) }
        for oldest in others.sorted(by: { $0.createdAtMs < $1.createdAtMs }).prefix(surplus) {
            try delete(oldest, reason: .replaced)
        }
    }

    /// - Throws: `limit(.factorCreations)` at 100 in a day.
    func countFactorCreation(_ factor: FactorSID, of entity: EntitySID) throws {
        let sinceMs = nowMs - StorePolicy.dayMs
        guard try rows.countFactorCreations(of: entity, sinceMs: sinceMs) < StorePolicy.factorCreationsPerDay else {
            throw StoreError.limit(.factorCreations)
        }
        try rows.insertFactorCreation(factor, of: entity, sinceMs: sinceMs, nowMs: nowMs)
    }

    /// Deletes factors that were never verified.
    /// - Parameter entity: nil: of all.
    func pruneUnverified(of entity: EntitySID?, limit: Int) throws {
        let untilMs = nowMs - StorePolicy.unverifiedLifeMs
        for found in try rows.unverifiedFactors(of: entity, createdUntilMs: untilMs, limit: limit) {
            // Read again under the lock.
            guard let factor = try rows.factor(found.sid), !factor.isVerified else { continue }
            try delete(factor, reason: .neverVerified)
        }
    }

    /// Deletes code factors that were never verified.
    func pruneUnverifiedCodes(of entity: EntitySID?, limit: Int) throws {
        let untilMs = nowMs - StorePolicy.unverifiedLifeMs
        for found in try rows.unverifiedCodeFactors(of: entity, createdUntilMs: untilMs, limit: limit) {
            guard let factor = try rows.codeFactor(found.sid), !factor.isVerified else { continue }
            try delete(factor, reason: .neverVerified)
        }
    }
}
