public import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func createCredential(
        account: AccountSID, friendlyName: String, secret: ProviderCredential, nowMs: Int64
    ) async throws -> Credential {
        let sid = CredentialSID.generate(nowMs: nowMs)
        var secret = secret
        secret.accountSid = account.rawValue
        secret.credentialSid = sid.rawValue
        let (type, sandbox): (String, Bool)
        switch secret.secret {
        case .apnsToken(let key): (type, sandbox) = ("apn", key.sandbox)
        case .apnsCertificate(let certificate): (type, sandbox) = ("apn", certificate.sandbox)
        case .fcm: (type, sandbox) = ("fcm", false)
        case .hms: (type, sandbox) = ("hms", false)
        case .other(let secret): (type, sandbox) = (secret.type, secret.sandbox)
        case nil:
            throw StoreError.failed(
                "the credential holds no secret; expected an APNs key or certificate, an FCM service account or an HMS secret"
            )
        }
        let (keyID, sealed) = try sealAtRest(secret.protobufBytes(), Self.context(account, sid))
        let record = try published(secret, version: 1)
        return try await write { database in
            try database.noteSealing(keyID, proof: self.keyProof)
            guard try database.exists("SELECT 1 FROM accounts WHERE sid = ?", [account.rawValue]) else {
                throw StoreError.notFound(.account)
            }
            try database.run(
                """
                INSERT INTO credentials (sid, account_sid, type, friendly_name, sandbox, key_id, sealed, created_ms, \
                updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [sid.rawValue, account.rawValue, type, friendlyName, sandbox, keyID, sealed, nowMs, nowMs])
            try database.enqueue(.configuration, key: sid.rawValue, value: record, nowMs: nowMs)
            try database.audit("credential.created", account: account, subject: sid.rawValue, nowMs: nowMs)
            return Credential(
                sid: sid, account: account, type: type, friendlyName: friendlyName, sandbox: sandbox,
                createdAtMs: nowMs,
                updatedAtMs: nowMs)
        }
    }

    public func credential(_ sid: CredentialSID, account: AccountSID) async throws -> Credential? {
        try await read { database in
            try database.row(
                "SELECT \(Credential.columns) FROM credentials WHERE sid = ? AND account_sid = ?",
                [sid.rawValue, account.rawValue]
            ).map(Credential.init(row:))
        }
    }

    public func credentials(account: AccountSID, page request: PageRequest) async throws -> Page<Credential> {
        try await read { database in
            let rows = try database.rows(
                "SELECT \(Credential.columns) FROM credentials WHERE account_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
                [account.rawValue, request.after ?? "", request.clampedSize + 1])
            return try page(rows, request, cursor: \.sid.rawValue, Credential.init(row:))
        }
    }

    public func deleteCredential(_ sid: CredentialSID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        try await write { database in
            guard
                let version = try database.row(
                    "SELECT version FROM credentials WHERE sid = ? AND account_sid = ?",
                    [sid.rawValue, account.rawValue])?[0] as Int64?
            else { return false }
            try database.run("DELETE FROM credentials WHERE sid = ?", [sid.rawValue])
            try database.run(
                "INSERT INTO deleted_credentials (sid, account_sid, version, deleted_ms) VALUES (?, ?, ?, ?)",
                [sid.rawValue, account.rawValue, version + 1, nowMs])
            for column in [
                "apn_credential_sid", "fcm_credential_sid", "hms_credential_sid", "webpush_credential_sid",
            ] {
                try database.run(
                    "UPDATE services SET \(column) = NULL WHERE account_sid = ? AND \(column) = ?",
                    [account.rawValue, sid.rawValue])
            }
            // A dispatcher of an earlier version takes a credential back for the empty value, and passes the mark over.
            try database.enqueue(.configuration, key: sid.rawValue, value: [], nowMs: nowMs)
            try database.enqueue(
                .configuration, key: sid.rawValue,
                value: SealedConfiguration(deleted: sid, account: account, version: version + 1).protobufBytes(),
                nowMs: nowMs)
            try database.audit("credential.deleted", account: account, subject: sid.rawValue, nowMs: nowMs)
            return true
        }
    }

    public func republishConfiguration(nowMs: Int64) async throws {
        var last = ""
        var unreadable: [String] = []
        while true {
            // One transaction reads and writes, so that a credential deleted meanwhile does not come back behind its tombstone.
            let (next, failed) = try await write { [last] database in
                let rows = try database.rows(
                    "SELECT sid, account_sid, key_id, sealed, version FROM credentials WHERE sid > ? ORDER BY sid LIMIT 50",
                    [last])
                var failed: [String] = []
                for row in rows {
                    var columns = Columns(row)
                    let sid: CredentialSID = try columns.sid()
                    let account: AccountSID = try columns.sid()
                    let keyID = columns.text()
                    do {
                        let bytes = try self.openAtRest(columns.data(), keyID: keyID, Self.context(account, sid))
                        let secret = try ProviderCredential(value: Array(bytes), contentType: nil)
                        try database.enqueue(
                            .configuration, key: sid.rawValue,
                            value: self.published(secret, version: columns.int64()), nowMs: nowMs)
                    } catch is StoreError {
                        failed.append(sid.rawValue)
                    } catch is RecordFormatError {
                        failed.append(sid.rawValue)
                    }
                }
                return (rows.count == 50 ? rows.last?[0] as String? : nil, failed)
            }
            unreadable += failed
            guard let next else { break }
            last = next
        }
        try await republishDeleted(nowMs: nowMs)
        guard unreadable.isEmpty else {
            throw StoreError.failed(
                "no store key opens the credentials \(unreadable.prefix(10).joined(separator: ", ")); the others were published"
            )
        }
    }

    /// A record of old that somebody wrote again behind the mark would be all that a compacted topic keeps of the credential.
    private func republishDeleted(nowMs: Int64) async throws {
        var last: String? = ""
        while let after = last {
            last = try await write { database in
                let rows = try database.rows(
                    "SELECT sid, account_sid, version FROM deleted_credentials WHERE sid > ? ORDER BY sid LIMIT 200",
                    [after])
                for row in rows {
                    var columns = Columns(row)
                    let deleted = SealedConfiguration(
                        deleted: try columns.sid(), account: try columns.sid(), version: columns.int64())
                    try database.enqueue(
                        .configuration, key: deleted.sid, value: deleted.protobufBytes(), nowMs: nowMs)
                }
                return rows.count == 200 ? rows.last?[0] as String? : nil
            }
        }
    }

    private static func context(_ account: AccountSID, _ sid: CredentialSID) -> [String] {
        [account.rawValue, sid.rawValue, "credential"]
    }

    private func published(_ secret: ProviderCredential, version: Int64) throws -> [UInt8] {
        do {
            return try SealedConfiguration(sealing: secret, version: version, keys: keys.configuration).protobufBytes()
        } catch {
            throw Self.storeError(error)
        }
    }
}

extension Credential {
    static let columns = "sid, account_sid, type, friendly_name, sandbox, created_ms, updated_ms"

    init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), type: columns.text(), friendlyName: columns.text(),
            sandbox: columns.flag(), createdAtMs: columns.int64(), updatedAtMs: columns.int64())
    }
}
