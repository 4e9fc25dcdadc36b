import Challenges
import Foundation

/// The verbs of ``SealingRows``.
extension SQLTransaction {
    func noteSealing(_ keyID: String, proof: [UInt8]) throws {
        try connection.run(
            "INSERT INTO sealing_keys (key_id, proof) VALUES (?, ?) ON CONFLICT (key_id) DO NOTHING",
            [keyID, blob(proof)])
    }

    func sealingKeys() throws -> [(keyID: String, proof: [UInt8]?)] {
        try connection.rows("SELECT key_id, proof FROM sealing_keys ORDER BY key_id").map { row in
            var columns = Columns(row)
            return (columns.text(), columns.optionalBytes())
        }
    }

    func setProof(_ proof: [UInt8], ofKey keyID: String) throws {
        try connection.run("UPDATE sealing_keys SET proof = ? WHERE key_id = ?", [blob(proof), keyID])
    }

    func deleteSealingKey(_ keyID: String) throws {
        try connection.run("DELETE FROM sealing_keys WHERE key_id = ?", [keyID])
    }

    func sealedRows(_ place: SealedPlace, under keyID: String, after sid: String, limit: Int) throws -> [SealedRow] {
        let columns = place.columns
        return try connection.rows(
            """
            SELECT sid, \(columns.account), \(columns.sealed) FROM \(columns.table) WHERE \(columns.key) = ? AND sid > ? \
            ORDER BY sid LIMIT ?
            """, [keyID, sid, limit]
        ).map { row in
            var columns = Columns(row)
            return SealedRow(sid: columns.text(), account: columns.text(), sealed: columns.bytes())
        }
    }

    func replace(_ former: SealedRow, of place: SealedPlace, with value: SealedValue) throws {
        let columns = place.columns
        try connection.run(
            """
            UPDATE \(columns.table) SET \(columns.key) = ?, \(columns.sealed) = ? \
            WHERE sid = ? AND \(columns.sealed) = ?
            """, [value.keyID, blob(value.bytes), former.sid, blob(former.sealed)])
    }
}

extension SealedPlace {
    fileprivate var columns: (table: String, account: String, key: String, sealed: String) {
        switch self {
        case .authTokens: ("accounts", "sid", "token_key_id", "token_sealed")
        case .formerAuthTokens: ("accounts", "sid", "former_key_id", "former_sealed")
        case .credentials: ("credentials", "account_sid", "key_id", "sealed")
        case .codeSecrets: ("code_factors", "account_sid", "key_id", "sealed")
        case .numbers: ("challenges", "account_sid", "number_key_id", "number_sealed")
        case .webhookSecrets: ("webhook_endpoints", "account_sid", "secret_key_id", "secret_sealed")
        case .formerWebhookSecrets: ("webhook_endpoints", "account_sid", "former_key_id", "former_sealed")
        }
    }
}
