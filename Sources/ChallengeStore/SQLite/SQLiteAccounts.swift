public import ChallengeModel
import Crypto
import Foundation
import GRDB
import Synchronization

extension SQLiteChallengeStore {
    public func createAccount(nowMs: Int64) async throws -> AccountCredentials {
        let sid = AccountSID.generate(nowMs: nowMs)
        let token = SymmetricKey(size: .bits256).withUnsafeBytes { bytes in
            bytes.map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined()
        }
        let (keyID, sealed) = try sealAtRest(Array(token.utf8), [sid.rawValue, "auth-token"])
        try await write { database in
            try database.run(
                "INSERT INTO accounts (sid, token_key_id, token_sealed, created_ms) VALUES (?, ?, ?, ?)",
                [sid.rawValue, keyID, sealed, nowMs])
        }
        return AccountCredentials(sid: sid, authToken: token)
    }

    public func authenticate(account: AccountSID, authToken: String) async throws -> Bool {
        let digest = Array(SHA256.hash(data: Data(authToken.utf8)))
        if tokens.contains(account: account, digest: digest) { return true }
        let row = try await read { database in
            try database.row("SELECT token_key_id, token_sealed FROM accounts WHERE sid = ?", [account.rawValue])
                .map { ($0[0] as String, $0[1] as Data) }
        }
        guard let (keyID, sealed) = row else { return false }
        let token = try openAtRest(sealed, keyID: keyID, [account.rawValue, "auth-token"])
        guard HMACComparison.equal(SHA256.hash(data: token).map { $0 }, digest) else { return false }
        tokens.insert(account: account, digest: digest)
        return true
    }

    func sealAtRest(_ bytes: [UInt8], _ context: [String]) throws -> (keyID: String, sealed: Data) {
        do { return try keys.store.seal(bytes, context: context) } catch { throw Self.storeError(error) }
    }

    func openAtRest(_ sealed: Data, keyID: String, _ context: [String]) throws -> Data {
        do { return try keys.store.open(sealed, keyID: keyID, context: context) } catch { throw Self.storeError(error) }
    }
}

/// Hashes of tokens that were right a moment ago, so that a busy backend is not decrypted for at every request. An entry
/// lasts 30 s, because another process may rotate the token.
final class VerifiedTokens: Sendable {
    private struct Entry {
        let digest: [UInt8]
        let until: ContinuousClock.Instant
    }

    private static let bound = 1000
    private let entries = Mutex<[AccountSID: Entry]>([:])

    func contains(account: AccountSID, digest: [UInt8]) -> Bool {
        guard let entry = entries.withLock({ $0[account] }), entry.until > .now else { return false }
        return HMACComparison.equal(entry.digest, digest)
    }

    func insert(account: AccountSID, digest: [UInt8]) {
        entries.withLock { entries in
            if entries.count >= Self.bound { entries.removeAll(keepingCapacity: true) }
            entries[account] = Entry(digest: digest, until: .now + .seconds(30))
        }
    }
}
