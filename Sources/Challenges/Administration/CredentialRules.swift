public import ChallengeModel

extension ChallengeStore {
    /// Seals the secret at rest and writes it, sealed, to topic `configuration`.
    /// - Parameter secret: the secret; this method sets its `credential_sid` and `account_sid`.
    public func createCredential(
        account: AccountSID, friendlyName: String, secret: ProviderCredential, nowMs: Int64
    ) async throws -> Credential {
        let sid = CredentialSID.generate(nowMs: nowMs)
        var secret = secret
        secret.accountSid = account.rawValue
        secret.credentialSid = sid.rawValue
        let (type, sandbox) = try Self.kind(of: secret)
        let credential = Credential(
            sid: sid, account: account, type: type, friendlyName: friendlyName, sandbox: sandbox, createdAtMs: nowMs,
            updatedAtMs: nowMs)
        let sealed = try rules.seal(secret.protobufBytes(), Self.context(account, sid))
        let record = try published(secret, version: 1)
        try await write(nowMs) { decision in
            try decision.noteSealing(sealed)
            try decision.requireAccount(account)
            try decision.rows.insert(credential, sealed: sealed)
            try decision.publish(record, of: sid)
            try decision.audit("credential.created", account: account, subject: sid.rawValue)
        }
        return credential
    }

    private static func kind(of secret: ProviderCredential) throws(StoreError) -> (type: String, sandbox: Bool) {
        switch secret.secret {
        case .apnsToken(let key): ("apn", key.sandbox)
        case .apnsCertificate(let certificate): ("apn", certificate.sandbox)
        case .fcm: ("fcm", false)
        case .hms: ("hms", false)
        case .other(let secret): (secret.type, secret.sandbox)
        case nil:
            throw .failed(
                "the credential holds no secret; expected an APNs key or certificate, an FCM service account or an HMS secret"
            )
        }
    }

    public func credential(_ sid: CredentialSID, account: AccountSID) async throws -> Credential? {
        try await engine.read { try $0.credential(sid, account: account) }
    }

    public func credentials(account: AccountSID, page: PageRequest) async throws -> Page<Credential> {
        try await engine.read { try $0.credentials(account: account, page: page) }
    }

    /// Deletes a credential and writes a tombstone to `configuration`.
    public func deleteCredential(_ sid: CredentialSID, account: AccountSID, nowMs: Int64) async throws -> Bool {
        try await write(nowMs) { decision in
            try decision.rows.lock(account)
            guard let version = try decision.rows.credentialVersion(sid, account: account) else { return false }
            try decision.rows.deleteCredential(sid, account: account, deletedVersion: version + 1, nowMs: nowMs)
            // A dispatcher of an earlier version removes a credential because of the empty value, and ignores the
            // deletion record.
            try decision.publish([], of: sid)
            try decision.publish(
                SealedConfiguration(deleted: sid, account: account, version: version + 1).protobufBytes(), of: sid)
            try decision.audit("credential.deleted", account: account, subject: sid.rawValue)
            return true
        }
    }

    /// Writes every credential to `configuration` again, for a broker that has lost them or never had them.
    public func republishConfiguration(nowMs: Int64) async throws {
        let some = 50
        var last: String? = ""
        var unreadable: [String] = []
        while let after = last {
            // One transaction reads and writes, so that a credential that is deleted at the same time is not written
            // again after its tombstone.
            let (next, failed) = try await write(nowMs) { decision in
                let found = try decision.rows.sealedCredentials(after: after, limit: some)
                var failed: [String] = []
                for credential in found {
                    do {
                        let bytes = try self.rules.open(
                            credential.sealed, Self.context(credential.account, credential.sid))
                        let secret = try ProviderCredential(value: bytes, contentType: nil)
                        try decision.publish(
                            self.published(secret, version: credential.version), of: credential.sid)
                    } catch let error where error is StoreError || error is RecordFormatError {
                        failed.append(credential.sid.rawValue)
                    }
                }
                return (found.count == some ? found.last?.sid.rawValue : nil, failed)
            }
            unreadable += failed
            last = next
        }
        try await republishDeleted(nowMs: nowMs)
        guard unreadable.isEmpty else {
            throw StoreError.failed(
                "no store key opens the credentials \(unreadable.prefix(10).joined(separator: ", ")); the others were published"
            )
        }
    }

    /// Writes deletion records again. If somebody writes an old record after the deletion record, a compacted topic
    /// would keep only the old record.
    private func republishDeleted(nowMs: Int64) async throws {
        let some = 200
        var last: String? = ""
        while let after = last {
            last = try await write(nowMs) { decision in
                let found = try decision.rows.deletedCredentials(after: after, limit: some)
                for deleted in found {
                    try decision.publish(
                        SealedConfiguration(deleted: deleted.sid, account: deleted.account, version: deleted.version)
                            .protobufBytes(), of: deleted.sid)
                }
                return found.count == some ? found.last?.sid.rawValue : nil
            }
        }
    }

    private static func context(_ account: AccountSID, _ sid: CredentialSID) -> [String] {
        SealedPlace.credentials.context(account: account.rawValue, sid: sid.rawValue)
    }

    private func published(_ secret: ProviderCredential, version: Int64) throws(StoreError) -> [UInt8] {
        do {
            return try SealedConfiguration(sealing: secret, version: version, keys: rules.keys.configuration)
                .protobufBytes()
        } catch {
            throw StoreError(sealing: error)
        }
    }
}

extension Decision {
    /// Enqueues a record for `configuration`.
    fileprivate func publish(_ value: [UInt8], of credential: CredentialSID) throws {
        try rows.enqueue(OutboxRecord(.configuration, key: credential.rawValue, value: value), nowMs: nowMs)
    }
}
