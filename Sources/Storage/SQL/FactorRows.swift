import ChallengeModel
import Challenges

/// The verbs of ``FactorRows``.
extension SQLTransaction {
    func factor(_ sid: FactorSID) throws -> Factor? {
        try connection.row("SELECT \(Factor.columns) FROM factors WHERE sid = ?", [sid.rawValue]).map(Factor.init(row:))
    }

    func factor(_ sid: FactorSID, entity: EntitySID) throws -> Factor? {
        try connection.row(
            "SELECT \(Factor.columns) FROM factors WHERE sid = ? AND entity_sid = ?",
            [sid.rawValue, entity.rawValue]
        ).map(Factor.init(row:))
    }

    func factor(keyID: String) throws -> Factor? {
        try connection.row("SELECT \(Factor.columns) FROM factors WHERE key_id = ?", [keyID]).map(Factor.init(row:))
    }

    func factors(entity: EntitySID, page request: PageRequest) throws -> Page<Factor> {
        let rows = try connection.rows(
            "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
            [entity.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, Factor.init(row:))
    }

    func factors(of entity: EntitySID) throws -> [Factor] {
        try connection.rows(
            "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? ORDER BY sid", [entity.rawValue]
        ).map(Factor.init(row:))
    }

    func verifiedFactors(of entity: EntitySID) throws -> [Factor] {
        try connection.rows(
            "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND verified = 1 ORDER BY sid",
            [entity.rawValue]
        ).map(Factor.init(row:))
    }

    func hasFactor(of entity: EntitySID, publicKey: [UInt8]) throws -> Bool {
        try connection.exists(
            "SELECT 1 FROM factors WHERE entity_sid = ? AND public_key = ?", [entity.rawValue, blob(publicKey)])
    }

    func countFactors(of entity: EntitySID, like new: NewFactor) throws -> FactorCounts {
        let row = try connection.row(
            """
            SELECT count(*) FILTER (WHERE verified = 0), count(*) FILTER (WHERE verified = 1), \
            count(*) FILTER (WHERE verified = 1 AND push_token = ? AND platform = ? AND app_id = ?) \
            FROM factors WHERE entity_sid = ?
            """, [new.pushToken, new.platform.rawValue, new.appID, entity.rawValue])
        return row.map {
            FactorCounts(
                unverified: Int($0.int64(0)), verified: Int($0.int64(1)), verifiedAlike: Int($0.int64(2)))
        }
            ?? FactorCounts(unverified: 0, verified: 0, verifiedAlike: 0)
    }

    func insert(_ factor: Factor, accessToken: AccessTokenSID?) throws {
        try connection.run(
            """
            INSERT INTO factors (\(Factor.columns), access_token_sid) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                factor.sid.rawValue, factor.account.rawValue, factor.service.rawValue, factor.entity.rawValue,
                factor.identity, factor.friendlyName, factor.isVerified, blob(factor.publicKey), factor.keyID.rawValue,
                factor.platform.rawValue, factor.pushToken, factor.appID, factor.environment.rawValue,
                factor.sdkVersion, factor.notificationsEnabled, factor.metadata, factor.registeredAtMs,
                factor.createdAtMs, factor.updatedAtMs, factor.unreachableAtMs, factor.signedAtMs, factor.isSilent,
                accessToken?.rawValue,
            ])
    }

    func update(_ factor: Factor) throws -> Int64 {
        try connection.run(
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
        return try connection.integer("SELECT revision FROM factors WHERE sid = ?", [factor.sid.rawValue])
    }

    func markVerified(_ sid: FactorSID, nowMs: Int64) throws {
        try connection.run("UPDATE factors SET verified = 1, updated_ms = ? WHERE sid = ?", [nowMs, sid.rawValue])
    }

    func delete(_ sid: FactorSID) throws {
        try connection.run("DELETE FROM factors WHERE sid = ?", [sid.rawValue])
        try connection.run("DELETE FROM background_grants WHERE factor_sid = ?", [sid.rawValue])
    }

    func accessToken(ofFactor sid: FactorSID) throws -> AccessTokenSID? {
        let row = try connection.row("SELECT access_token_sid FROM factors WHERE sid = ?", [sid.rawValue])
        return try row.flatMap { row in
            var columns = Columns(row)
            return try columns.optionalSID()
        }
    }

    func unverifiedFactors(madeWith token: AccessTokenSID) throws -> [Factor] {
        try connection.rows(
            "SELECT \(Factor.columns) FROM factors WHERE access_token_sid = ? AND verified = 0", [token.rawValue]
        ).map(Factor.init(row:))
    }

    func unverifiedFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [Factor] {
        let ofEntity = """
            FROM factors WHERE entity_sid = ? AND verified = 0 AND created_ms <= ? ORDER BY created_ms LIMIT ?
            """
        let ofAll = dialect.due("factors", "d.verified = 0 AND d.created_ms <= ?", by: "created_ms")
        return try connection.rows(
            "SELECT \(Factor.columns) \(entity == nil ? ofAll : ofEntity)",
            (entity.map { [$0.rawValue] } ?? []) + [createdUntilMs, limit]
        ).map(Factor.init(row:))
    }

    func noteSigned(_ sid: FactorSID, nowMs: Int64) throws {
        try connection.run(
            "UPDATE factors SET signed_ms = ? WHERE sid = ? AND signed_ms < ?", [nowMs, sid.rawValue, nowMs])
    }

    func noteReceipt(of sid: FactorSID) throws {
        try connection.run("UPDATE factors SET silent = 0 WHERE sid = ? AND silent = 1", [sid.rawValue])
    }

    func wrongNumbers(of sid: FactorSID) throws -> NumberGuesses {
        NumberGuesses(
            try connection.texts("SELECT wrong_numbers FROM factors WHERE sid = ?", [sid.rawValue]).first ?? "")
    }

    func setWrongNumbers(_ guesses: NumberGuesses, of sid: FactorSID) throws {
        try connection.run("UPDATE factors SET wrong_numbers = ? WHERE sid = ?", [guesses.text, sid.rawValue])
    }

    // MARK: - Dead push tokens

    func markUnreachable(_ sid: FactorSID, atMs: Int64, credential: CredentialSID, purgeAtMs: Int64) throws {
        try connection.run(
            "UPDATE factors SET unreachable_ms = ?, unreachable_credential_sid = ?, purge_ms = ? WHERE sid = ?",
            [atMs, credential.rawValue, purgeAtMs, sid.rawValue])
    }

    func markReachable(_ sid: FactorSID) throws {
        try connection.run(
            "UPDATE factors SET unreachable_ms = NULL, unreachable_credential_sid = NULL, purge_ms = NULL WHERE sid = ?",
            [sid.rawValue])
    }

    func markReachable(under credential: CredentialSID, sinceMs: Int64) throws {
        try connection.run(
            """
            UPDATE factors SET unreachable_ms = NULL, unreachable_credential_sid = NULL, purge_ms = NULL \
            WHERE unreachable_credential_sid = ? AND unreachable_ms > ?
            """, [credential.rawValue, sinceMs])
    }

    func countUnreachable(under credential: CredentialSID, sinceMs: Int64) throws -> Int64 {
        try connection.integer(
            "SELECT count(*) FROM factors WHERE unreachable_credential_sid = ? AND unreachable_ms > ?",
            [credential.rawValue, sinceMs])
    }

    func factorsToPurge(untilMs: Int64, limit: Int) throws -> [(factor: Factor, credential: CredentialSID?)] {
        try connection.rows(
            """
            SELECT \(Factor.columns), unreachable_credential_sid \
            \(dialect.due("factors", "d.purge_ms <= ?", by: "purge_ms"))
            """, [untilMs, limit]
        ).map { row in
            (try Factor(row: row), row.optionalText(22).flatMap { CredentialSID($0) })
        }
    }

    func setPurge(_ sid: FactorSID, atMs: Int64) throws {
        try connection.run("UPDATE factors SET purge_ms = ? WHERE sid = ?", [atMs, sid.rawValue])
    }

    // MARK: - What is counted of them

    func countBackgroundGrants(of sid: FactorSID, sinceMs: Int64) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM background_grants WHERE factor_sid = ? AND granted_ms > ?",
                [sid.rawValue, sinceMs]))
    }

    func insertBackgroundGrant(of sid: FactorSID, challenge: ChallengeSID, sinceMs: Int64, nowMs: Int64) throws {
        try connection.run(
            "DELETE FROM background_grants WHERE factor_sid = ? AND granted_ms <= ?", [sid.rawValue, sinceMs])
        try connection.run(
            "INSERT INTO background_grants (factor_sid, granted_ms, challenge_sid) VALUES (?, ?, ?)",
            [sid.rawValue, nowMs, challenge.rawValue])
    }

    func countFactorCreations(of entity: EntitySID, sinceMs: Int64) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM factor_creations WHERE entity_sid = ? AND created_ms > ?",
                [entity.rawValue, sinceMs]))
    }

    func insertFactorCreation(_ sid: FactorSID, of entity: EntitySID, sinceMs: Int64, nowMs: Int64) throws {
        try connection.run(
            "DELETE FROM factor_creations WHERE entity_sid = ? AND created_ms <= ?", [entity.rawValue, sinceMs])
        try connection.run(
            "INSERT INTO factor_creations (entity_sid, created_ms, factor_sid) VALUES (?, ?, ?)",
            [entity.rawValue, nowMs, sid.rawValue])
    }

    func deleteFactorCreations(of entity: EntitySID) throws {
        try connection.run("DELETE FROM factor_creations WHERE entity_sid = ?", [entity.rawValue])
    }
}

extension Factor {
    static let columns = """
        sid, account_sid, service_sid, entity_sid, identity, friendly_name, verified, public_key, key_id, platform, \
        push_token, app_id, environment, sdk_version, notifications_enabled, metadata, registered_ms, created_ms, updated_ms, \
        unreachable_ms, signed_ms, silent
        """

    init(row: some SQLRow) throws {
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
            updatedAtMs: columns.int64(), unreachableAtMs: columns.optionalInt64(), signedAtMs: columns.int64(),
            isSilent: columns.flag())
    }
}
