import ChallengeModel
import Challenges
import Foundation

/// The verbs of ``AccountRows``.
extension SQLTransaction {
    func insertAccount(_ sid: AccountSID, authToken: SealedValue, nowMs: Int64) throws {
        try connection.run(
            "INSERT INTO accounts (sid, token_key_id, token_sealed, created_ms) VALUES (?, ?, ?, ?)",
            [sid.rawValue, authToken.keyID, blob(authToken.bytes), nowMs])
    }

    func hasAccount(_ sid: AccountSID) throws -> Bool {
        try connection.exists("SELECT 1 FROM accounts WHERE sid = ?", [sid.rawValue])
    }

    func lock(_ account: AccountSID) throws {
        guard dialect.locksRows else { return }
        _ = try connection.row(
            "SELECT 1 FROM accounts a WHERE a.sid = ?\(dialect.locking("a"))", [account.rawValue])
    }

    func authTokens(of account: AccountSID) throws -> AuthTokens? {
        try connection.row(
            """
            SELECT token_key_id, token_sealed, former_key_id, former_sealed, former_until_ms FROM accounts \
            WHERE sid = ?
            """, [account.rawValue]
        ).map { row in
            var columns = Columns(row)
            let present = columns.sealed()
            return AuthTokens(
                present: present, former: columns.optionalSealed(), formerUntilMs: columns.optionalInt64() ?? 0)
        }
    }

    func replaceAuthToken(of account: AccountSID, with token: SealedValue, formerUntilMs: Int64) throws -> Bool {
        try connection.hasChanged(
            """
            UPDATE accounts SET former_key_id = token_key_id, former_sealed = token_sealed, former_until_ms = ?, \
            token_key_id = ?, token_sealed = ? WHERE sid = ?
            """, [formerUntilMs, token.keyID, blob(token.bytes), account.rawValue])
    }

    func insert(_ key: APIKey, secretHash: [UInt8]) throws {
        try connection.run(
            """
            INSERT INTO api_keys (sid, account_sid, role, friendly_name, secret_hash, created_ms) \
            VALUES (?, ?, ?, ?, ?, ?)
            """,
            [
                key.sid.rawValue, key.account.rawValue, key.role.rawValue, key.friendlyName, blob(secretHash),
                key.createdAtMs,
            ])
    }

    func keys(account: AccountSID, page request: PageRequest) throws -> Page<APIKey> {
        let rows = try connection.rows(
            "SELECT \(APIKey.columns) FROM api_keys WHERE account_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
            [account.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, APIKey.init(row:))
    }

    func countKeys(account: AccountSID) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM api_keys WHERE account_sid = ? AND revoked_ms IS NULL", [account.rawValue]))
    }

    func countKeys(role: AccountRole) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM api_keys WHERE role = ? AND revoked_ms IS NULL", [role.rawValue]))
    }

    func keyInUse(_ sid: APIKeySID) throws -> (key: APIKey, secretHash: [UInt8])? {
        try connection.row(
            """
            SELECT \(APIKey.columns), secret_hash FROM api_keys WHERE sid = ? AND revoked_ms IS NULL \
            AND EXISTS (SELECT 1 FROM accounts a WHERE a.sid = api_keys.account_sid)
            """, [sid.rawValue]
        ).flatMap { row in
            // A role of a later version lets nobody in.
            guard AccountRole(rawValue: row.text(2)) != nil else { return nil }
            var columns = Columns(row, from: 6)
            return (try APIKey(row: row), columns.bytes())
        }
    }

    func account(ofKey sid: APIKeySID) throws -> AccountSID? {
        try connection.texts("SELECT account_sid FROM api_keys WHERE sid = ?", [sid.rawValue]).first
            .flatMap { AccountSID($0) }
    }

    func revokeKey(_ sid: APIKeySID, account: AccountSID, nowMs: Int64) throws -> Bool {
        try connection.hasChanged(
            "UPDATE api_keys SET revoked_ms = ? WHERE sid = ? AND account_sid = ? AND revoked_ms IS NULL",
            [nowMs, sid.rawValue, account.rawValue])
    }
}

extension APIKey {
    fileprivate static let columns = "sid, account_sid, role, friendly_name, created_ms, revoked_ms"

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        let sid: APIKeySID = try columns.sid()
        let account: AccountSID = try columns.sid()
        guard let role = AccountRole(rawValue: columns.text()) else {
            throw StoreError.failed("api_keys names an unknown role")
        }
        self.init(
            sid: sid, account: account, role: role, friendlyName: columns.text(), createdAtMs: columns.int64(),
            revokedAtMs: columns.optionalInt64())
    }
}
