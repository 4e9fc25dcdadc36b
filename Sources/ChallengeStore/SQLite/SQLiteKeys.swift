public import ChallengeModel
import Crypto
import GRDB
import Synchronization

extension SQLiteChallengeStore {
    public func createKey(
        account: AccountSID, role: AccountRole, friendlyName: String, nowMs: Int64
    ) async throws -> (APIKey, secret: String) {
        let sid = APIKeySID.generate(nowMs: nowMs)
        let secret = Self.newKeySecret()
        let key = APIKey(
            sid: sid, account: account, role: role, friendlyName: friendlyName, createdAtMs: nowMs, revokedAtMs: nil)
        try await write { database in
            try database.requireAccount(account)
            let count = try database.integer(
                "SELECT count(*) FROM api_keys WHERE account_sid = ? AND revoked_ms IS NULL", [account.rawValue])
            guard count < StorePolicy.keysPerAccount else { throw StoreError.limit(.keys) }
            try database.run(
                """
                INSERT INTO api_keys (sid, account_sid, role, friendly_name, secret_hash, created_ms) \
                VALUES (?, ?, ?, ?, ?, ?)
                """,
                [sid.rawValue, account.rawValue, role.rawValue, friendlyName, Self.hash(secret), nowMs])
            try database.audit("key.created", account: account, subject: sid.rawValue, nowMs: nowMs)
        }
        return (key, secret)
    }

    /// 43 letters and digits: 256 random bits. Other characters are refused by a helper library of the API's own publisher.
    static func newKeySecret() -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        var generator = SystemRandomNumberGenerator()
        // 62^43 is more than 2^256.
        return String(decoding: (0..<43).map { _ in alphabet.randomElement(using: &generator) ?? 0 }, as: UTF8.self)
    }

    public func keys(account: AccountSID, page request: PageRequest) async throws -> Page<APIKey> {
        try await read { database in
            try database.requireAccount(account)
            let rows = try database.rows(
                """
                SELECT sid, account_sid, role, friendly_name, created_ms, revoked_ms FROM api_keys \
                WHERE account_sid = ? AND sid > ? ORDER BY sid LIMIT ?
                """, [account.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, APIKey.init(row:))
        }
    }

    public func keysToNarrow() async throws -> Int {
        try await read { database in
            Int(
                try database.integer(
                    "SELECT count(*) FROM api_keys WHERE role = ? AND revoked_ms IS NULL",
                    [AccountRole.sendAndEnrol.rawValue]))
        }
    }

    public func revokeKey(_ sid: APIKeySID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        let isRevoked = try await write { database in
            guard
                try database.changes(
                    "UPDATE api_keys SET revoked_ms = ? WHERE sid = ? AND account_sid = ? AND revoked_ms IS NULL",
                    [nowMs, sid.rawValue, account.rawValue])
            else { return false }
            try database.audit("key.revoked", account: account, subject: sid.rawValue, nowMs: nowMs)
            return true
        }
        logins.forgetAll()
        return isRevoked
    }
}

extension Database {
    fileprivate func requireAccount(_ account: AccountSID) throws {
        guard try exists("SELECT 1 FROM accounts WHERE sid = ?", [account.rawValue]) else {
            throw StoreError.notFound(.account)
        }
    }
}

extension APIKey {
    init(row: Row) throws {
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

/// Hashes of secrets that were right a moment ago, so that a busy backend is not looked up and decrypted for at every request.
/// An entry lasts as long as another process's change may go unseen.
final class KnownLogins: Sendable {
    private struct Entry {
        let digest: [UInt8]
        let principal: Principal
        let until: ContinuousClock.Instant
    }

    private struct State {
        var entries: [String: [Entry]] = [:]
        var generation = 0
    }

    private static let bound = 1000
    private let state = Mutex(State())

    /// Goes up with every change made here: what was read before it is not kept.
    var generation: Int { state.withLock { $0.generation } }

    func principal(_ subject: String, digest: [UInt8]) -> Principal? {
        guard let entries = state.withLock({ $0.entries[subject] }) else { return nil }
        let now = ContinuousClock.now
        return entries.first { $0.until > now && HMACComparison.equal($0.digest, digest) }?.principal
    }

    func insert(_ principal: Principal, _ subject: String, digest: [UInt8], generation: Int) {
        let now = ContinuousClock.now
        let entry = Entry(
            digest: digest, principal: principal, until: now + .milliseconds(StorePolicy.loginCacheMs))
        state.withLock { state in
            guard state.generation == generation else { return }
            if state.entries.count >= Self.bound { state.entries.removeAll(keepingCapacity: true) }
            // Two auth tokens are good during a rotation.
            let others = (state.entries[subject] ?? []).filter { $0.until > now && $0.digest != digest }
            state.entries[subject] = others.suffix(1) + [entry]
        }
    }

    func forgetAll() {
        state.withLock { state in
            state.generation += 1
            state.entries.removeAll(keepingCapacity: true)
        }
    }
}
