import ChallengeModel
import Challenges

/// The verbs of ``CredentialRows``.
extension SQLTransaction {
    func insert(_ credential: Credential, sealed: SealedValue) throws {
        try connection.run(
            """
            INSERT INTO credentials (\(Credential.columns), key_id, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                credential.sid.rawValue, credential.account.rawValue, credential.type, credential.friendlyName,
                credential.sandbox, credential.createdAtMs, credential.updatedAtMs, sealed.keyID, blob(sealed.bytes),
            ])
    }

    func credential(_ sid: CredentialSID, account: AccountSID) throws -> Credential? {
        try connection.row(
            "SELECT \(Credential.columns) FROM credentials WHERE sid = ? AND account_sid = ?",
            [sid.rawValue, account.rawValue]
        ).map(Credential.init(row:))
    }

    func credentials(account: AccountSID, page request: PageRequest) throws -> Page<Credential> {
        let rows = try connection.rows(
            "SELECT \(Credential.columns) FROM credentials WHERE account_sid = ? AND sid > ? ORDER BY sid LIMIT ?",
            [account.rawValue, request.after ?? "", request.clampedSize + 1])
        return try page(rows, request, cursor: \.sid.rawValue, Credential.init(row:))
    }

    func lock(_ credential: CredentialSID) throws {
        guard dialect.locksRows else { return }
        _ = try connection.row(
            "SELECT 1 FROM credentials c WHERE c.sid = ?\(dialect.locking("c"))", [credential.rawValue])
    }

    func credentialVersion(_ sid: CredentialSID, account: AccountSID) throws -> Int64? {
        try connection.row(
            "SELECT version FROM credentials WHERE sid = ? AND account_sid = ?", [sid.rawValue, account.rawValue]
        ).map { $0.int64(0) }
    }

    func deleteCredential(_ sid: CredentialSID, account: AccountSID, deletedVersion: Int64, nowMs: Int64) throws {
        try connection.run("DELETE FROM credentials WHERE sid = ?", [sid.rawValue])
        try connection.run(
            "INSERT INTO deleted_credentials (sid, account_sid, version, deleted_ms) VALUES (?, ?, ?, ?)",
            [sid.rawValue, account.rawValue, deletedVersion, nowMs])
        for column in ["apn_credential_sid", "fcm_credential_sid", "hms_credential_sid", "webpush_credential_sid"] {
            try connection.run(
                "UPDATE services SET \(column) = NULL WHERE account_sid = ? AND \(column) = ?",
                [account.rawValue, sid.rawValue])
        }
    }

    func sealedCredentials(after sid: String, limit: Int) throws -> [SealedCredential] {
        try connection.rows(
            """
            SELECT sid, account_sid, key_id, sealed, version FROM credentials c WHERE sid > ? \
            ORDER BY sid LIMIT ?\(dialect.locking("c"))
            """, [sid, limit]
        ).map { row in
            var columns = Columns(row)
            return SealedCredential(
                sid: try columns.sid(), account: try columns.sid(), sealed: columns.sealed(),
                version: columns.int64())
        }
    }

    func deletedCredentials(after sid: String, limit: Int) throws -> [DeletedCredential] {
        try connection.rows(
            "SELECT sid, account_sid, version FROM deleted_credentials WHERE sid > ? ORDER BY sid LIMIT ?",
            [sid, limit]
        ).map { row in
            var columns = Columns(row)
            return DeletedCredential(sid: try columns.sid(), account: try columns.sid(), version: columns.int64())
        }
    }
}

extension Credential {
    fileprivate static let columns = "sid, account_sid, type, friendly_name, sandbox, created_ms, updated_ms"

    fileprivate init(row: some SQLRow) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), type: columns.text(), friendlyName: columns.text(),
            sandbox: columns.flag(), createdAtMs: columns.int64(), updatedAtMs: columns.int64())
    }
}

/// The verbs of ``CredentialHealthRows``.
extension SQLTransaction {
    func pushCounts(of credential: CredentialSID, afterMinute minute: Int64) throws -> PushCounts {
        let row = try connection.row(
            """
            SELECT CAST(coalesce(sum(accepted), 0) AS bigint), CAST(coalesce(sum(unknown), 0) AS bigint) FROM credential_minutes \
            WHERE credential_sid = ? AND minute > ?
            """, [credential.rawValue, minute])
        return row.map { PushCounts(accepted: $0.int64(0), unknown: $0.int64(1)) } ?? PushCounts()
    }

    func add(_ counts: PushCounts, to minute: Int64, of credential: CredentialSID) throws -> Bool {
        guard !dialect.locksRows else { return try spread(counts, to: minute, of: credential) }
        if try connection.hasChanged(
            """
            UPDATE credential_minutes SET accepted = accepted + ?, unknown = unknown + ? \
            WHERE credential_sid = ? AND minute = ?
            """, [counts.accepted, counts.unknown, credential.rawValue, minute])
        {
            return false
        }
        try connection.run(
            "INSERT INTO credential_minutes (credential_sid, minute, accepted, unknown) VALUES (?, ?, ?, ?)",
            [credential.rawValue, minute, counts.accepted, counts.unknown])
        return true
    }

    /// In one of 16 rows, and with the commit: one row that every push of a credential updates would be waited for by
    /// all of them.
    private func spread(_ counts: PushCounts, to minute: Int64, of credential: CredentialSID) throws -> Bool {
        try connection.run(
            """
            INSERT INTO credential_minutes (credential_sid, minute, slot, accepted, unknown) VALUES (?, ?, ?, ?, ?) \
            ON CONFLICT (credential_sid, minute, slot) DO UPDATE SET \
            accepted = credential_minutes.accepted + excluded.accepted, \
            unknown = credential_minutes.unknown + excluded.unknown
            """, [credential.rawValue, minute, Int.random(in: 0..<16), counts.accepted, counts.unknown])
        // Which one is the first of its minute would have to be asked.
        return Int.random(in: 0..<64) == 0
    }

    func deletePushCounts(of credential: CredentialSID, beforeMinute minute: Int64) throws {
        try connection.run(
            "DELETE FROM credential_minutes WHERE credential_sid = ? AND minute < ?", [credential.rawValue, minute])
    }

    func incident(_ kind: IncidentKind, of credential: CredentialSID) throws -> Incident? {
        try connection.row(
            "SELECT last_ms, accepted_ms FROM credential_incidents WHERE credential_sid = ? AND kind = ?",
            [credential.rawValue, kind.rawValue]
        ).map { Incident(lastMs: $0.int64(0), acceptedMs: $0.int64(1)) }
    }

    func openIncident(_ kind: IncidentKind, of credential: CredentialSID, nowMs: Int64) throws {
        try connection.run(
            """
            INSERT INTO credential_incidents (credential_sid, kind, since_ms, last_ms) VALUES (?, ?, ?, ?) \
            ON CONFLICT (credential_sid, kind) DO UPDATE SET since_ms = excluded.since_ms, \
            last_ms = excluded.last_ms, accepted_ms = 0
            """, [credential.rawValue, kind.rawValue, nowMs, nowMs])
    }

    func extendIncident(
        _ kind: IncidentKind, of credential: CredentialSID, unlessSinceMs sinceMs: Int64, nowMs: Int64
    ) throws {
        try connection.run(
            "UPDATE credential_incidents SET last_ms = ? WHERE credential_sid = ? AND kind = ? AND last_ms < ?",
            [nowMs, credential.rawValue, kind.rawValue, sinceMs])
    }

    func noteAccepted(
        _ kind: IncidentKind, of credential: CredentialSID, unlessSinceMs sinceMs: Int64, nowMs: Int64
    ) throws {
        try connection.run(
            "UPDATE credential_incidents SET accepted_ms = ? WHERE credential_sid = ? AND kind = ? AND accepted_ms < ?",
            [nowMs, credential.rawValue, kind.rawValue, sinceMs])
    }
}
