import ChallengeModel
import Foundation
import GRDB

/// A column that holds sealed values, with what they are bound to.
private struct SealedPlace {
    let name: String
    let table: String
    let keyColumn: String
    let sealedColumn: String
    /// Of the SID of the row's account and its own.
    let context: @Sendable (_ account: String, _ sid: String) -> [String]

    var accountColumn: String { table == "accounts" ? "sid" : "account_sid" }

    static let all = [
        SealedPlace(
            name: "auth-tokens", table: "accounts", keyColumn: "token_key_id", sealedColumn: "token_sealed"
        ) { account, _ in [account, "auth-token"] },
        SealedPlace(
            name: "former-auth-tokens", table: "accounts", keyColumn: "former_key_id", sealedColumn: "former_sealed"
        ) { account, _ in [account, "auth-token"] },
        SealedPlace(name: "credentials", table: "credentials", keyColumn: "key_id", sealedColumn: "sealed") {
            [$0, $1, "credential"]
        },
        SealedPlace(name: "totp-secrets", table: "code_factors", keyColumn: "key_id", sealedColumn: "sealed") {
            [$0, $1, "totp-secret"]
        },
        SealedPlace(
            name: "numbers", table: "challenges", keyColumn: "number_key_id", sealedColumn: "number_sealed"
        ) { [$0, $1, "number"] },
    ]

    /// Rows sealed under a key, behind a SID.
    func rows(_ database: Database, under keyID: String, after sid: String = "", limit: Int) throws -> [Row] {
        try database.rows(
            """
            SELECT sid, \(accountColumn), \(sealedColumn) FROM \(table) WHERE \(keyColumn) = ? AND sid > ? \
            ORDER BY sid LIMIT ?
            """, [keyID, sid, limit])
    }
}

extension Database {
    /// Compares the keys with what the store is sealed with, and notes the first one, before it seals anything.
    /// - Throws: ``StoreError/failed(_:)`` that says which key is missing or wrong.
    func checkSealingKeys(_ ring: KeyRing, path: String) throws {
        var unproven: [String] = []
        let known = try rows("SELECT key_id, proof FROM sealing_keys ORDER BY key_id")
        let findings: [(keyID: String, finding: SealingKeys.Finding)] = try known.map { row in
            let (keyID, proof) = (row[0] as String, (row[1] as Data?).map { [UInt8]($0) })
            if proof == nil { unproven.append(keyID) }
            return (keyID, try SealingKeys.finding(keyID, in: ring, proof: proof) { try sample(under: keyID) })
        }
        if let complaint = SealingKeys.complaint(findings, path: path) { throw StoreError.failed(complaint) }
        for key in ring.keys where unproven.contains(key.id) {
            try run(
                "UPDATE sealing_keys SET proof = ? WHERE key_id = ?",
                [blob(SealingKeys.proof(of: KeyRing(keys: [key]))), key.id])
        }
        if !known.contains(where: { $0[0] as String == ring.first.id }) {
            try noteSealing(ring.first.id, proof: SealingKeys.proof(of: ring))
        }
    }

    /// In the transaction of every value that is sealed: a rotation that ends meanwhile does not call its key unused.
    func noteSealing(_ keyID: String, proof: [UInt8]) throws {
        try run("INSERT OR IGNORE INTO sealing_keys (key_id, proof) VALUES (?, ?)", [keyID, blob(proof)])
    }

    private func sample(under keyID: String) throws -> (sealed: [UInt8], context: [String])? {
        for place in SealedPlace.all {
            guard let row = try place.rows(self, under: keyID, limit: 1).first else { continue }
            return ([UInt8](row[2] as Data), place.context(row[1], row[0]))
        }
        return nil
    }

    /// Takes away the keys but the first that no value is sealed under. - Returns: their ids.
    fileprivate func retireSealingKeys(but first: String) throws -> [String] {
        try texts("SELECT key_id FROM sealing_keys WHERE key_id <> ? ORDER BY key_id", [first]).filter { keyID in
            guard try sample(under: keyID) == nil else { return false }
            try run("DELETE FROM sealing_keys WHERE key_id = ?", [keyID])
            return true
        }
    }
}

extension SQLiteChallengeStore {
    /// Seals every value under the first store key that another one sealed. Works beside a producer, a few hundred values a
    /// transaction; one that was stopped goes on where it was, because what is left is what has another key's id.
    /// - Parameter onProgress: called after each transaction.
    /// - Throws: `CancellationError` between two transactions.
    public func reseal(onProgress: @Sendable (ResealProgress) -> Void = { _ in }) async throws -> ResealResult {
        let ring = keys.store
        var (all, allFailed) = (0, 0)
        let others = try await read {
            try $0.texts("SELECT key_id FROM sealing_keys WHERE key_id <> ?", [ring.first.id])
        }
        for place in SealedPlace.all {
            var (resealed, failed) = (0, 0)
            for keyID in others {
                var last: String? = ""
                while let after = last {
                    try Task.checkCancellation()
                    let (next, done, left) = try await write { database -> (String?, Int, Int) in
                        let rows = try place.rows(database, under: keyID, after: after, limit: Self.resealed)
                        var (done, left) = (0, 0)
                        for row in rows {
                            let (sid, account) = (row[0] as String, row[1] as String)
                            let context = place.context(account, sid)
                            guard let value = try? ring.open(row[2] as Data, keyID: keyID, context: context) else {
                                left += 1
                                continue
                            }
                            let (newID, sealed) = try ring.seal(value, context: context)
                            try database.run(
                                "UPDATE \(place.table) SET \(place.keyColumn) = ?, \(place.sealedColumn) = ? WHERE sid = ?",
                                [newID, sealed, sid])
                            done += 1
                        }
                        return (rows.count == Self.resealed ? rows.last?[0] as String? : nil, done, left)
                    }
                    resealed += done
                    failed += left
                    last = next
                    if done + left > 0 {
                        onProgress(ResealProgress(place: place.name, resealed: resealed, failed: failed))
                    }
                }
            }
            all += resealed
            allFailed += failed
        }
        let retired = try await write { try $0.retireSealingKeys(but: ring.first.id) }
        return ResealResult(keyID: ring.first.id, resealed: all, failed: allFailed, retired: retired)
    }

    private static let resealed = 200
}
