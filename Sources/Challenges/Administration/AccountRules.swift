public import ChallengeModel
import Crypto
import Wire

extension ChallengeStore {
    public func createAccount(nowMs: Int64) async throws -> AccountCredentials {
        let sid = AccountSID.generate(nowMs: nowMs)
        let token = Self.newAuthToken()
        try await write(nowMs) { decision in
            try decision.rows.insertAccount(sid, authToken: decision.sealAuthToken(token, of: sid), nowMs: nowMs)
            try decision.audit("account.created", account: sid, subject: sid.rawValue)
        }
        return AccountCredentials(sid: sid, authToken: token)
    }

    /// Creates a new auth token. The token that it replaces stays valid for `keepFormerMs`. An older former token ends
    /// at once.
    /// - Throws: `notFound(.account)`.
    public func rotateAuthToken(
        _ account: AccountSID, keepFormerMs: Int64, nowMs: Int64
    ) async throws -> AccountCredentials {
        let token = Self.newAuthToken()
        try await write(nowMs) { decision in
            let sealed = try decision.sealAuthToken(token, of: account)
            guard
                try decision.rows.replaceAuthToken(
                    of: account, with: sealed, formerUntilMs: nowMs + max(0, keepFormerMs))
            else { throw StoreError.notFound(.account) }
            try decision.audit("account.token_rotated", account: account, subject: account.rawValue)
        }
        logins.forgetAll()
        return AccountCredentials(sid: account, authToken: token)
    }

    private static func newAuthToken() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { Hexadecimal.encode($0) }
    }

    /// - Returns: the key and its secret, 43 letters and digits for 256 random bits. The store keeps only the hash.
    /// - Throws: `notFound(.account)`, `limit(.keys)` when 200 keys are not revoked.
    public func createKey(
        account: AccountSID, role: AccountRole, friendlyName: String, nowMs: Int64
    ) async throws -> (APIKey, secret: String) {
        let secret = Self.newKeySecret()
        let key = APIKey(
            sid: .generate(nowMs: nowMs), account: account, role: role, friendlyName: friendlyName,
            createdAtMs: nowMs, revokedAtMs: nil)
        try await write(nowMs) { decision in
            try decision.rows.lock(account)
            try decision.requireAccount(account)
            guard try decision.rows.countKeys(account: account) < StorePolicy.keysPerAccount else {
                throw StoreError.limit(.keys)
            }
            try decision.rows.insert(key, secretHash: Decision.hash(secret))
            try decision.audit("key.created", account: account, subject: key.sid.rawValue)
        }
        return (key, secret)
    }

    /// 43 letters and digits for 256 random bits. A helper library of the API's own publisher refuses other characters.
    private static func newKeySecret() -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        var generator = SystemRandomNumberGenerator()
        // 62^43 is more than 2^256.
        return String(decoding: (0..<43).map { _ in alphabet.randomElement(using: &generator) ?? 0 }, as: UTF8.self)
    }

    /// The keys of an account, including revoked keys, in order of creation.
    /// - Throws: `notFound(.account)`.
    public func keys(account: AccountSID, page: PageRequest) async throws -> Page<APIKey> {
        try await engine.read { rows in
            guard try rows.hasAccount(account) else { throw StoreError.notFound(.account) }
            return try rows.keys(account: account, page: page)
        }
    }

    /// The number of keys with role ``AccountRole/sendAndEnrol`` that are not revoked, over all accounts.
    public func keysToNarrow() async throws -> Int { try await engine.read { try $0.countKeys(role: .sendAndEnrol) } }

    /// - Returns: false when the account has no such key, or it was revoked before.
    public func revokeKey(_ sid: APIKeySID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        let isRevoked = try await write(nowMs) { decision in
            guard try decision.rows.revokeKey(sid, account: account, nowMs: nowMs) else { return false }
            try decision.audit("key.revoked", account: account, subject: sid.rawValue)
            return true
        }
        logins.forgetAll()
        return isRevoked
    }
}

extension Decision {
    func requireAccount(_ account: AccountSID) throws {
        guard try rows.hasAccount(account) else { throw StoreError.notFound(.account) }
    }

    fileprivate func sealAuthToken(_ token: String, of account: AccountSID) throws -> SealedValue {
        let sealed = try rules.seal(Array(token.utf8), StoreRules.authTokenContext(account))
        try noteSealing(sealed)
        return sealed
    }
}

extension StoreRules {
    static func authTokenContext(_ account: AccountSID) -> [String] {
        SealedPlace.authTokens.context(account: account.rawValue, sid: account.rawValue)
    }
}
