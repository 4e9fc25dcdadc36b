import ChallengeModel
import Challenges

/// The verbs of ``EntityRows``.
extension SQLTransaction {
    func entity(account: AccountSID, service: ServiceSID, identity: String) throws -> Entity? {
        try connection.row(
            "SELECT \(Entity.columns) \(Entity.named(identity))", Entity.arguments(account, service, identity)
        ).map(Entity.init(row:))
    }

    func person(account: AccountSID, service: ServiceSID, identity: String) throws -> Person? {
        try connection.row(
            "SELECT \(Person.columns) \(Entity.named(identity))", Entity.arguments(account, service, identity)
        ).map(Person.init(row:))
    }

    // Where one transaction writes at a time, it is the lock.

    func lockedPerson(account: AccountSID, service: ServiceSID, identity: String) throws -> Person? {
        try connection.row(
            "SELECT \(Person.columns) \(Entity.named(identity))\(dialect.locking("e"))",
            Entity.arguments(account, service, identity)
        ).map(Person.init(row:))
    }

    func lockedPerson(_ entity: EntitySID) throws -> Person? {
        try connection.row(
            "SELECT \(Person.columns) FROM entities e WHERE e.sid = ?\(dialect.locking("e"))", [entity.rawValue]
        )
        .map(Person.init(row:))
    }

    func lockedPerson(ofChallenge sid: ChallengeSID) throws -> Person? {
        try connection.row(
            """
            SELECT \(Person.columns) FROM challenges c JOIN entities e ON e.sid = c.entity_sid \
            WHERE c.sid = ?\(dialect.locking("e"))
            """, [sid.rawValue]
        ).map(Person.init(row:))
    }

    func lockedPerson(ofFactor sid: FactorSID) throws -> Person? {
        try connection.row(
            """
            SELECT \(Person.columns) FROM \(sid.isCodeFactor ? "code_factors" : "factors") f \
            JOIN entities e ON e.sid = f.entity_sid WHERE f.sid = ?\(dialect.locking("e"))
            """, [sid.rawValue]
        ).map(Person.init(row:))
    }

    func update(_ limits: PersonLimits, of entity: EntitySID) throws {
        try connection.run(
            """
            UPDATE entities SET creations_ms = ?, denials = ?, quiet_until_ms = ?, limit_told_ms = ?, wrong_numbers = ? \
            WHERE sid = ?
            """,
            [
                limits.creationsFullAtMs, limits.denialsMs.map { String($0) }.joined(separator: ","),
                limits.quietUntilMs, limits.limitToldMs, limits.wrongNumbers.text, entity.rawValue,
            ])
    }

    func entities(service: ServiceSID, page request: PageRequest) throws -> Page<Entity> {
        let rows = try connection.rows(
            "SELECT \(Entity.columns) FROM entities e WHERE service_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
            [service.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, Entity.init(row:))
    }

    func someEntities(ofService service: ServiceSID, limit: Int) throws -> [Entity] {
        try connection.rows(
            "SELECT \(Entity.columns) FROM entities e WHERE service_sid = ? LIMIT ?\(dialect.skippingLocked("e"))",
            [service.rawValue, limit]
        ).map(Entity.init(row:))
    }

    func hasEntity(ofService service: ServiceSID) throws -> Bool {
        try connection.exists("SELECT 1 FROM entities WHERE service_sid = ? LIMIT 1", [service.rawValue])
    }

    func countEntities(account: AccountSID, in range: Range<EntitySID>) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM entities WHERE sid >= ? AND sid < ? AND account_sid = ?",
                [range.lowerBound.rawValue, range.upperBound.rawValue, account.rawValue]))
    }

    func insert(_ entity: Entity) throws {
        try connection.run(
            """
            INSERT INTO entities (sid, account_sid, service_sid, identity, identity_key, created_ms, updated_ms) \
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                entity.sid.rawValue, entity.account.rawValue, entity.service.rawValue, entity.identity,
                StorePolicy.identityKey(entity.identity), entity.createdAtMs, entity.updatedAtMs,
            ])
    }

    func delete(_ entity: EntitySID) throws {
        try connection.run("DELETE FROM entities WHERE sid = ?", [entity.rawValue])
        try connection.run(
            "INSERT INTO entity_purges (entity_sid) VALUES (?) ON CONFLICT (entity_sid) DO NOTHING", [entity.rawValue])
    }

    func entityToPurge() throws -> EntitySID? {
        try connection.texts("SELECT entity_sid FROM entity_purges LIMIT 1").first.flatMap { EntitySID($0) }
    }

    func endPurge(of entity: EntitySID) throws {
        try connection.run("DELETE FROM entity_purges WHERE entity_sid = ?", [entity.rawValue])
    }

    func insert(_ token: AccessToken, secretHash: [UInt8], expiresAtMs: Int64) throws {
        try connection.run(
            """
            INSERT INTO access_tokens (sid, account_sid, service_sid, identity, identity_key, friendly_name, \
            ttl_seconds, secret_hash, expires_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                token.sid.rawValue, token.account.rawValue, token.service.rawValue, token.identity,
                StorePolicy.identityKey(token.identity), token.factorFriendlyName, token.ttlSeconds,
                blob(secretHash), expiresAtMs, token.createdAtMs,
            ])
    }

    func accessToken(_ sid: AccessTokenSID, account: AccountSID, service: ServiceSID) throws -> AccessToken? {
        try connection.row(
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

    func accessToken(secretHash: [UInt8]) throws -> AccessTokenUse? {
        try connection.row(
            """
            SELECT sid, account_sid, service_sid, identity, expires_ms, spent, factors FROM access_tokens \
            WHERE secret_hash = ?
            """, [blob(secretHash)]
        ).map { row in
            var columns = Columns(row)
            return AccessTokenUse(
                sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(),
                identity: columns.text(), expiresAtMs: columns.int64(), isSpent: columns.flag(),
                factors: columns.integer())
        }
    }

    func countFactor(of token: AccessTokenSID) throws {
        try connection.run("UPDATE access_tokens SET factors = factors + 1 WHERE sid = ?", [token.rawValue])
    }

    func spend(_ token: AccessTokenSID) throws {
        try connection.run("UPDATE access_tokens SET spent = 1 WHERE sid = ?", [token.rawValue])
    }
}

extension Entity {
    /// Of `entities e`.
    fileprivate static let columns = "e.sid, e.account_sid, e.service_sid, e.identity, e.created_ms, e.updated_ms"

    fileprivate static func named(_ identity: String) -> String {
        EntitySID(identity) == nil ? byIdentity : bySID
    }

    private static let byIdentity = ofService + "e.identity_key = ?"
    private static let bySID = ofService + "e.sid = ?"
    private static let ofService = """
        FROM entities e JOIN services s ON s.sid = e.service_sid AND s.deleted = 0 \
        WHERE e.service_sid = ? AND e.account_sid = ? AND 
        """

    fileprivate static func arguments(
        _ account: AccountSID, _ service: ServiceSID, _ identity: String
    ) -> Arguments {
        [
            service.rawValue, account.rawValue,
            EntitySID(identity)?.rawValue ?? StorePolicy.identityKey(identity),
        ]
    }

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(), identity: columns.text(),
            createdAtMs: columns.int64(), updatedAtMs: columns.int64())
    }
}

extension Person {
    /// Of `entities e`.
    fileprivate static let columns =
        Entity.columns + ", e.creations_ms, e.denials, e.quiet_until_ms, e.limit_told_ms, e.wrong_numbers"

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row, from: 6)
        var limits = PersonLimits()
        limits.creationsFullAtMs = columns.int64()
        limits.denialsMs = columns.text().split(separator: ",").compactMap { Int64($0) }
        limits.quietUntilMs = columns.int64()
        limits.limitToldMs = columns.int64()
        limits.wrongNumbers = NumberGuesses(columns.text())
        self.init(entity: try Entity(row: row), limits: limits)
    }
}
