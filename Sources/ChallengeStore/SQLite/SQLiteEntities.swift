public import ChallengeModel
import Crypto
import Foundation
import GRDB
import Wire

extension SQLiteChallengeStore {
    public func createEntity(
        account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64
    ) async throws -> Entity {
        try await write { database in
            try database.requireService(service, account: account)
            let existing = try database.entity(account: account, service: service, identity: identity)
            // A text in the form of a YE SID always means the entity of that SID: as an identity it would be another's.
            guard existing == nil, EntitySID(identity) == nil else { throw StoreError.conflict(.entity) }
            return try database.insertEntity(
                account: account, service: service, identity: identity, limit: self.entityCreationsPerSecond,
                nowMs: nowMs)
        }
    }

    public func entity(account: AccountSID, service: ServiceSID, identity: String) async throws -> Entity? {
        try await read { try $0.entity(account: account, service: service, identity: identity) }
    }

    public func entities(
        account: AccountSID, service: ServiceSID, page request: PageRequest
    ) async throws -> Page<Entity> {
        try await read { database in
            guard try database.service(service, account: account) != nil else { return Page(items: [], next: nil) }
            let rows = try database.rows(
                "SELECT \(Entity.columns) FROM entities e WHERE service_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
                [service.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, Entity.init(row:))
        }
    }

    /// Its live challenges are canceled, so that nothing pushes them on; the sweep takes the closed ones away.
    public func deleteEntity(
        account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64
    ) async throws -> Bool {
        try await write { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return false
            }
            try database.delete(entity, nowMs: nowMs)
            return true
        }
    }

    public func createAccessToken(
        _ new: NewAccessToken, nowMs: Int64
    ) async throws -> (AccessToken, secret: String) {
        let sid = AccessTokenSID.generate(nowMs: nowMs)
        let secret = SymmetricKey(size: .bits256).withUnsafeBytes { Base64URL.encode($0) }
        let token = try await write { database in
            try database.requireService(new.service, account: new.account)
            var identity = new.identity
            if EntitySID(identity) != nil {
                guard let entity = try database.entity(account: new.account, service: new.service, identity: identity)
                else { throw StoreError.notFound(.entity) }
                identity = entity.identity
            }
            try database.run(
                """
                INSERT INTO access_tokens (sid, account_sid, service_sid, identity, identity_key, friendly_name, \
                ttl_seconds, secret_hash, expires_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    sid.rawValue, new.account.rawValue, new.service.rawValue, identity,
                    StorePolicy.identityKey(identity), new.factorFriendlyName, new.ttlSeconds, Self.hash(secret),
                    nowMs + Int64(new.ttlSeconds) * 1000, nowMs,
                ])
            try database.audit(
                "access_token.created", account: new.account, subject: sid.rawValue, isTraffic: true, nowMs: nowMs)
            return AccessToken(
                sid: sid, account: new.account, service: new.service, identity: identity,
                factorFriendlyName: new.factorFriendlyName, ttlSeconds: new.ttlSeconds, createdAtMs: nowMs)
        }
        return (token, secret)
    }

    public func accessToken(
        _ sid: AccessTokenSID, account: AccountSID, service: ServiceSID
    ) async throws -> AccessToken? {
        try await read { database in
            try database.row(
                """
                SELECT sid, account_sid, service_sid, identity, friendly_name, ttl_seconds, created_ms \
                FROM access_tokens WHERE sid = ? AND account_sid = ? AND service_sid = ?
                """, [sid.rawValue, account.rawValue, service.rawValue]
            ).map { row in
                var columns = Columns(row)
                return AccessToken(
                    sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(),
                    identity: columns.text(), factorFriendlyName: columns.optionalText(), ttlSeconds: columns.integer(),
                    createdAtMs: columns.int64())
            }
        }
    }

    static func hash(_ secret: String) -> DatabaseValue { blob(SHA256.hash(data: Data(secret.utf8))) }
}

extension Database {
    func requireService(_ sid: ServiceSID, account: AccountSID) throws {
        guard
            try exists(
                "SELECT 1 FROM services WHERE sid = ? AND account_sid = ? AND deleted = 0",
                [sid.rawValue, account.rawValue])
        else { throw StoreError.notFound(.service) }
    }

    func entity(account: AccountSID, service: ServiceSID, identity: String) throws -> Entity? {
        let condition = EntitySID(identity) == nil ? "e.identity_key = ?" : "e.sid = ?"
        return try row(
            """
            SELECT \(Entity.columns) FROM entities e JOIN services s ON s.sid = e.service_sid AND s.deleted = 0 \
            WHERE e.service_sid = ? AND e.account_sid = ? AND \(condition)
            """,
            [
                service.rawValue, account.rawValue,
                EntitySID(identity)?.rawValue ?? StorePolicy.identityKey(identity),
            ]
        ).map(Entity.init(row:))
    }

    /// - Parameter limit: entities of the account within a second.
    func insertEntity(
        account: AccountSID, service: ServiceSID, identity: String, limit: Int, nowMs: Int64
    ) throws -> Entity {
        // SIDs are ordered by time: the index over them is one over the time too.
        let recent = try integer(
            "SELECT count(*) FROM entities WHERE sid >= ? AND sid < ? AND account_sid = ?",
            [
                EntitySID.lowest(nowMs: nowMs - 999).rawValue, EntitySID.lowest(nowMs: nowMs + 1).rawValue,
                account.rawValue,
            ])
        guard recent < limit else { throw StoreError.limit(.entityCreations) }
        let entity = Entity(
            sid: .generate(nowMs: nowMs), account: account, service: service, identity: identity, createdAtMs: nowMs,
            updatedAtMs: nowMs)
        try run(
            """
            INSERT INTO entities (sid, account_sid, service_sid, identity, identity_key, created_ms, updated_ms) \
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                entity.sid.rawValue, account.rawValue, service.rawValue, identity, StorePolicy.identityKey(identity),
                nowMs, nowMs,
            ])
        try audit("entity.created", account: account, subject: entity.sid.rawValue, nowMs: nowMs)
        return entity
    }

    /// Takes an entity, its factors and its live challenges away; its closed challenges are left to the sweep.
    func delete(_ entity: Entity, nowMs: Int64) throws {
        for stored in try liveChallenges(entity: entity.sid) {
            try close(stored, nowMs < stored.challenge.expiresAtMs ? .cancel : .expire, nowMs: nowMs)
        }
        for row in try rows("SELECT \(Factor.columns) FROM factors WHERE entity_sid = ?", [entity.sid.rawValue]) {
            try delete(Factor(row: row), reason: .entityDeleted, nowMs: nowMs)
        }
        try deleteCodeFactors(of: entity.sid, nowMs: nowMs)
        try run("DELETE FROM entities WHERE sid = ?", [entity.sid.rawValue])
        try run("INSERT OR IGNORE INTO entity_purges (entity_sid) VALUES (?)", [entity.sid.rawValue])
        try audit("entity.deleted", account: entity.account, subject: entity.sid.rawValue, nowMs: nowMs)
    }
}

extension Entity {
    /// Of `entities e`.
    static let columns = "e.sid, e.account_sid, e.service_sid, e.identity, e.created_ms, e.updated_ms"

    init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(), identity: columns.text(),
            createdAtMs: columns.int64(), updatedAtMs: columns.int64())
    }
}
