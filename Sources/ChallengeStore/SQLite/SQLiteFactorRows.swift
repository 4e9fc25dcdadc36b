import ChallengeModel
import Foundation
import GRDB

extension Factor {
    static let columns = """
        sid, account_sid, service_sid, entity_sid, identity, friendly_name, verified, public_key, key_id, platform, \
        push_token, app_id, environment, sdk_version, notifications_enabled, metadata, registered_ms, created_ms, updated_ms, \
        unreachable_ms, signed_ms
        """

    init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(), entity: try columns.sid(),
            identity: columns.text(), friendlyName: columns.text(), isVerified: columns.flag(),
            publicKey: columns.bytes(), keyID: try columns.sid(),
            platform: Platform(rawValue: columns.integer()) ?? .unspecified, pushToken: columns.optionalText(),
            appID: columns.text(),
            environment: ProviderEnvironment(rawValue: columns.integer()) ?? .environmentUnspecified,
            sdkVersion: columns.optionalText(), notificationsEnabled: columns.optionalFlag(),
            metadata: columns.optionalText(), registeredAtMs: columns.int64(), createdAtMs: columns.int64(),
            updatedAtMs: columns.int64(), unreachableAtMs: columns.optionalInt64(), signedAtMs: columns.int64())
    }
}

extension Database {
    func factor(_ sid: FactorSID) throws -> Factor {
        guard let row = try row("SELECT \(Factor.columns) FROM factors WHERE sid = ?", [sid.rawValue]) else {
            throw StoreError.notFound(.factor)
        }
        return try Factor(row: row)
    }

    func insert(_ factor: Factor, accessToken: AccessTokenSID?) throws {
        try run(
            """
            INSERT INTO factors (\(Factor.columns), access_token_sid) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                factor.sid.rawValue, factor.account.rawValue, factor.service.rawValue, factor.entity.rawValue,
                factor.identity, factor.friendlyName, factor.isVerified, blob(factor.publicKey), factor.keyID.rawValue,
                factor.platform.rawValue, factor.pushToken, factor.appID, factor.environment.rawValue,
                factor.sdkVersion,
                factor.notificationsEnabled, factor.metadata, factor.registeredAtMs, factor.createdAtMs,
                factor.updatedAtMs, factor.unreachableAtMs, factor.signedAtMs, accessToken?.rawValue,
            ])
    }

    /// - Returns: how often the factor was updated, this time included.
    func update(_ factor: Factor) throws -> Int64 {
        try run(
            """
            UPDATE factors SET friendly_name = ?, platform = ?, push_token = ?, app_id = ?, environment = ?, \
            sdk_version = ?, notifications_enabled = ?, registered_ms = ?, updated_ms = ?, revision = revision + 1 \
            WHERE sid = ?
            """,
            [
                factor.friendlyName, factor.platform.rawValue, factor.pushToken, factor.appID,
                factor.environment.rawValue, factor.sdkVersion, factor.notificationsEnabled, factor.registeredAtMs,
                factor.updatedAtMs, factor.sid.rawValue,
            ])
        return try integer("SELECT revision FROM factors WHERE sid = ?", [factor.sid.rawValue])
    }

    /// Deletes a factor and tells the live challenges that are addressed to it.
    func delete(_ factor: Factor, reason: FactorDeletion, nowMs: Int64) throws {
        try tellLiveChallenges(of: factor, isGone: true, nowMs: nowMs)
        try run("DELETE FROM factors WHERE sid = ?", [factor.sid.rawValue])
        try run("DELETE FROM background_grants WHERE factor_sid = ?", [factor.sid.rawValue])
        try emit(.factorDeleted, factor, ["reason": .string(reason.rawValue)], nowMs: nowMs)
    }

    /// - Parameter revision: for events that can happen more than once.
    func emit(
        _ type: EventType, _ factor: Factor, _ more: [String: EventValue] = [:], revision: Int64? = nil, nowMs: Int64
    ) throws {
        let data: [String: EventValue] = [
            "account_sid": .string(factor.account.rawValue), "service_sid": .string(factor.service.rawValue),
            "entity_sid": .string(factor.entity.rawValue), "entity_identity": .string(factor.identity),
            "factor_sid": .string(factor.sid.rawValue), "factor_type": "push",
            "status": factor.isVerified ? "verified" : "unverified",
        ]
        try emit(
            type, account: factor.account, service: factor.service.rawValue, subject: factor.sid.rawValue,
            id: revision.map { "\(factor.sid)/\(type.rawValue)/\($0)" }, data: data.merging(more) { $1 }, nowMs: nowMs)
    }

    /// Checks a token and counts one more factor of it.
    /// - Parameter identity: as the entity spells it.
    func useAccessToken(_ secret: String, for new: NewFactor, identity: String, nowMs: Int64) throws -> AccessTokenSID {
        guard
            let row = try row(
                """
                SELECT sid FROM access_tokens WHERE secret_hash = ? AND account_sid = ? AND service_sid = ? \
                AND identity_key = ? AND expires_ms > ? AND spent = 0 AND factors < ?
                """,
                [
                    SQLiteChallengeStore.hash(secret), new.account.rawValue, new.service.rawValue,
                    StorePolicy.identityKey(identity), nowMs, StorePolicy.factorsPerAccessToken,
                ])
        else { throw StoreError.accessTokenRefused }
        var columns = Columns(row)
        let sid: AccessTokenSID = try columns.sid()
        try run("UPDATE access_tokens SET factors = factors + 1 WHERE sid = ?", [sid.rawValue])
        return sid
    }

    /// The token that made a factor is of no more use, nor are the other tries of the same phone.
    func spendAccessToken(of factor: FactorSID, nowMs: Int64) throws {
        guard
            let token = try row("SELECT access_token_sid FROM factors WHERE sid = ?", [factor.rawValue])?[0] as String?
        else { return }
        try run("UPDATE access_tokens SET spent = 1 WHERE sid = ?", [token])
        let others = try rows(
            "SELECT \(Factor.columns) FROM factors WHERE access_token_sid = ? AND verified = 0", [token])
        for row in others { try delete(Factor(row: row), reason: .tokenSpent, nowMs: nowMs) }
    }

    /// Deletes up to `limit` factors that were never verified. - Returns: how many.
    @discardableResult
    func pruneUnverified(
        _ condition: String, _ arguments: Arguments, createdBeforeMs: Int64, limit: Int, nowMs: Int64
    ) throws -> Int {
        let old = try rows(
            """
            SELECT \(Factor.columns) FROM factors WHERE \(condition) AND verified = 0 AND created_ms <= ? \
            ORDER BY created_ms LIMIT ?
            """, arguments + [createdBeforeMs, limit])
        for row in old { try delete(Factor(row: row), reason: .neverVerified, nowMs: nowMs) }
        return old.count
    }
}
