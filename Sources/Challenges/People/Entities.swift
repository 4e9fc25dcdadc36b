public import ChallengeModel
import Crypto
import Wire

extension ChallengeStore {
    /// - Throws: `conflict(.entity)` when the service already has that identity (compared without case).
    public func createEntity(
        account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64
    ) async throws -> Entity {
        try await write(nowMs) { decision in
            let existing = try decision.lockPlace(account: account, service: service, identity: identity)
            try decision.requireService(service, account: account)
            // A text with the form of a YE SID always means the entity with that SID, so it cannot be an identity.
            guard existing == nil, EntitySID(identity) == nil else { throw StoreError.conflict(.entity) }
            return try decision.insertEntity(account: account, service: service, identity: identity)
        }
    }

    /// - Parameter identity: the backend's name for the person, or the `YE` SID.
    public func entity(account: AccountSID, service: ServiceSID, identity: String) async throws -> Entity? {
        try await engine.read { try $0.entity(account: account, service: service, identity: identity) }
    }

    public func entities(account: AccountSID, service: ServiceSID, page: PageRequest) async throws -> Page<Entity> {
        try await engine.read { rows in
            guard try rows.service(service, account: account) != nil else { return Page(items: [], next: nil) }
            return try rows.entities(service: service, page: page)
        }
    }

    /// Deletes an entity with its factors. Its live challenges are canceled, so that they are not pushed any more. The
    /// sweep deletes the closed challenges.
    public func deleteEntity(
        account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64
    ) async throws -> Bool {
        try await write(nowMs) { decision in
            guard let person = try decision.rows.lockedPerson(account: account, service: service, identity: identity)
            else { return false }
            try decision.delete(person.entity)
            return true
        }
    }

    /// - Returns: the token's row and its secret. The store keeps only the hash of the secret.
    public func createAccessToken(
        _ new: NewAccessToken, nowMs: Int64
    ) async throws -> (AccessToken, secret: String) {
        let sid = AccessTokenSID.generate(nowMs: nowMs)
        let secret = SymmetricKey(size: .bits256).withUnsafeBytes { Base64URL.encode($0) }
        let token = try await write(nowMs) { try $0.createAccessToken(new, as: sid, secret: secret) }
        return (token, secret)
    }

    public func accessToken(
        _ sid: AccessTokenSID, account: AccountSID, service: ServiceSID
    ) async throws -> AccessToken? {
        try await engine.read { try $0.accessToken(sid, account: account, service: service) }
    }
}

extension Decision {
    func requireService(_ sid: ServiceSID, account: AccountSID) throws {
        guard try rows.service(sid, account: account) != nil else { throw StoreError.notFound(.service) }
    }

    /// The person of an identity, locked. Where there is none, the account is, so that nobody else makes it meanwhile,
    /// nor takes the service away.
    func lockPlace(account: AccountSID, service: ServiceSID, identity: String) throws -> Person? {
        if let person = try rows.lockedPerson(account: account, service: service, identity: identity) { return person }
        try rows.lock(account)
        // Another transaction may have made it before it let the account go.
        return try rows.lockedPerson(account: account, service: service, identity: identity)
    }

    /// Behind ``lockPlace(account:service:identity:)``.
    /// - Throws: `limit(.entityCreations)`.
    func insertEntity(account: AccountSID, service: ServiceSID, identity: String) throws -> Entity {
        // SIDs are ordered by time, so their index is also an index over time.
        let recent = try rows.countEntities(
            account: account, in: EntitySID.lowest(nowMs: max(0, nowMs - 999))..<EntitySID.lowest(nowMs: nowMs + 1))
        guard recent < rules.entityCreationsPerSecond else { throw StoreError.limit(.entityCreations) }
        let entity = Entity(
            sid: newSID(), account: account, service: service, identity: identity, createdAtMs: nowMs,
            updatedAtMs: nowMs)
        try rows.insert(entity)
        try audit("entity.created", account: account, subject: entity.sid.rawValue)
        return entity
    }

    /// Deletes an entity and its factors, and cancels its live challenges. The sweep deletes its closed challenges.
    func delete(_ entity: Entity) throws {
        for stored in try rows.pendingChallenges(of: entity.sid) {
            try close(stored, nowMs < stored.challenge.expiresAtMs ? .cancel : .expire)
        }
        for factor in try rows.factors(of: entity.sid) { try delete(factor, reason: .entityDeleted) }
        for factor in try rows.codeFactors(of: entity.sid) { try delete(factor, reason: .entityDeleted) }
        try rows.deleteFactorCreations(of: entity.sid)
        try rows.delete(entity.sid)
        try audit("entity.deleted", account: entity.account, subject: entity.sid.rawValue)
    }

    fileprivate func createAccessToken(
        _ new: NewAccessToken, as sid: AccessTokenSID, secret: String
    ) throws -> AccessToken {
        try requireService(new.service, account: new.account)
        var identity = new.identity
        if EntitySID(identity) != nil {
            guard let entity = try rows.entity(account: new.account, service: new.service, identity: identity) else {
                throw StoreError.notFound(.entity)
            }
            identity = entity.identity
        }
        let token = AccessToken(
            sid: sid, account: new.account, service: new.service, identity: identity,
            factorFriendlyName: new.factorFriendlyName, ttlSeconds: new.ttlSeconds, createdAtMs: nowMs)
        try rows.insert(
            token, secretHash: Self.hash(secret), expiresAtMs: nowMs + Int64(new.ttlSeconds) * 1000)
        try audit("access_token.created", account: new.account, subject: sid.rawValue, isTraffic: true)
        return token
    }
}
