public import ChallengeModel
import Crypto
import Foundation
import GRDB
import Wire

extension SQLiteChallengeStore {
    public func createAccount(nowMs: Int64) async throws -> AccountCredentials {
        let sid = AccountSID.generate(nowMs: nowMs)
        let token = Self.newAuthToken()
        let (keyID, sealed) = try sealAtRest(Array(token.utf8), Self.tokenContext(sid))
        try await write { [keyProof] database in
            try database.noteSealing(keyID, proof: keyProof)
            try database.run(
                "INSERT INTO accounts (sid, token_key_id, token_sealed, created_ms) VALUES (?, ?, ?, ?)",
                [sid.rawValue, keyID, sealed, nowMs])
            try database.audit("account.created", account: sid, subject: sid.rawValue, nowMs: nowMs)
        }
        return AccountCredentials(sid: sid, authToken: token)
    }

    public func authenticate(_ login: Login, nowMs: Int64) async throws -> Principal? {
        let (subject, secret) =
            switch login {
            case .account(let sid, let authToken): (sid.rawValue, authToken)
            case .key(let sid, let secret): (sid.rawValue, secret)
            }
        let digest = Array(SHA256.hash(data: Data(secret.utf8)))
        if let known = logins.principal(subject, digest: digest) { return known }
        let generation = logins.generation
        let principal =
            switch login {
            case .account(let sid, _): try await principal(account: sid, digest: digest, nowMs: nowMs)
            case .key(let sid, _): try await principal(key: sid, digest: digest)
            }
        if let principal { logins.insert(principal, subject, digest: digest, generation: generation) }
        return principal
    }

    private func principal(account: AccountSID, digest: [UInt8], nowMs: Int64) async throws -> Principal? {
        let sealed = try await read { database -> [(String, Data)] in
            guard
                let row = try database.row(
                    """
                    SELECT token_key_id, token_sealed, former_key_id, former_sealed, former_until_ms FROM accounts \
                    WHERE sid = ?
                    """, [account.rawValue])
            else { return [] }
            var sealed = [(row[0] as String, row[1] as Data)]
            if let keyID = row[2] as String?, let former = row[3] as Data?, row[4] as Int64 > nowMs {
                sealed.append((keyID, former))
            }
            return sealed
        }
        for (keyID, sealed) in sealed {
            let token = try openAtRest(sealed, keyID: keyID, Self.tokenContext(account))
            if HMACComparison.equal(Array(SHA256.hash(data: token)), digest) {
                return Principal(account: account, role: .full, key: nil)
            }
        }
        return nil
    }

    private func principal(key sid: APIKeySID, digest: [UInt8]) async throws -> Principal? {
        let found = try await read { database in
            try database.row(
                """
                SELECT k.account_sid, k.role, k.secret_hash FROM api_keys k JOIN accounts a ON a.sid = k.account_sid \
                WHERE k.sid = ? AND k.revoked_ms IS NULL
                """, [sid.rawValue]
            ).map { row in
                var columns = Columns(row)
                return (account: try columns.sid() as AccountSID, role: columns.text(), hash: columns.bytes())
            }
        }
        guard let found, let role = AccountRole(rawValue: found.role), HMACComparison.equal(found.hash, digest) else {
            return nil
        }
        return Principal(account: found.account, role: role, key: sid)
    }

    public func rotateAuthToken(
        _ account: AccountSID, keepFormerMs: Int64, nowMs: Int64
    ) async throws -> AccountCredentials {
        let token = Self.newAuthToken()
        let (keyID, sealed) = try sealAtRest(Array(token.utf8), Self.tokenContext(account))
        try await write { [keyProof] database in
            try database.noteSealing(keyID, proof: keyProof)
            guard
                try database.changes(
                    """
                    UPDATE accounts SET former_key_id = token_key_id, former_sealed = token_sealed, former_until_ms = ?, \
                    token_key_id = ?, token_sealed = ? WHERE sid = ?
                    """, [nowMs + max(0, keepFormerMs), keyID, sealed, account.rawValue])
            else { throw StoreError.notFound(.account) }
            try database.audit("account.token_rotated", account: account, subject: account.rawValue, nowMs: nowMs)
        }
        logins.forgetAll()
        return AccountCredentials(sid: account, authToken: token)
    }

    private static func newAuthToken() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { Hexadecimal.encode($0) }
    }

    private static func tokenContext(_ sid: AccountSID) -> [String] { [sid.rawValue, "auth-token"] }

    func sealAtRest(_ bytes: [UInt8], _ context: [String]) throws -> (keyID: String, sealed: Data) {
        do { return try keys.store.seal(bytes, context: context) } catch { throw Self.storeError(error) }
    }

    func openAtRest(_ sealed: Data, keyID: String, _ context: [String]) throws -> Data {
        do { return try keys.store.open(sealed, keyID: keyID, context: context) } catch { throw Self.storeError(error) }
    }
}
