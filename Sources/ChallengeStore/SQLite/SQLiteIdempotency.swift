import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func challenge(madeWith key: IdempotencyKey, nowMs: Int64) async throws -> Challenge? {
        try await read { try $0.challenge(madeWith: key, nowMs: nowMs) }
    }
}

extension Database {
    /// What a key made within its life; nil: it is free. Writers are served one after the other, so that who comes while the first
    /// is under way finds what that made.
    /// - Throws: `idempotencyConflict`.
    func challenge(madeWith key: IdempotencyKey?, nowMs: Int64) throws -> Challenge? {
        guard let key,
            let row = try row(
                "SELECT request_hash, challenge_sid FROM idempotency_keys WHERE key_hash = ? AND created_ms > ?",
                [blob(key.key), nowMs - StorePolicy.idempotencyKeyLifeMs])
        else { return nil }
        guard Array(row[0] as Data) == key.request else { throw StoreError.idempotencyConflict }
        var columns = Columns(row, from: 1)
        return try challenge(columns.sid())?.challenge
    }

    func remember(_ key: IdempotencyKey?, made challenge: ChallengeSID, nowMs: Int64) throws {
        guard let key else { return }
        try run(
            """
            INSERT OR REPLACE INTO idempotency_keys (key_hash, request_hash, challenge_sid, created_ms) \
            VALUES (?, ?, ?, ?)
            """, [blob(key.key), blob(key.request), challenge.rawValue, nowMs])
    }

    func hasOldPolicyRows(nowMs: Int64) throws -> Bool {
        if try exists("SELECT 1 FROM session_tokens WHERE expires_ms <= ? LIMIT 1", [nowMs]) { return true }
        return try exists(
            "SELECT 1 FROM idempotency_keys WHERE created_ms <= ? LIMIT 1", [nowMs - StorePolicy.idempotencyKeyLifeMs])
    }

    func deleteOldPolicyRows(limit: Int, nowMs: Int64) throws {
        try run(
            """
            DELETE FROM session_tokens WHERE secret_hash IN (SELECT secret_hash FROM session_tokens \
            WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
            """, [nowMs, limit])
        try run(
            """
            DELETE FROM idempotency_keys WHERE key_hash IN (SELECT key_hash FROM idempotency_keys \
            WHERE created_ms <= ? ORDER BY created_ms LIMIT ?)
            """, [nowMs - StorePolicy.idempotencyKeyLifeMs, limit])
    }
}
