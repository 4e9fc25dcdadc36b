package import ChallengeModel

/// `accounts` and `api_keys`.
package protocol AccountRows {
    func insertAccount(_ sid: AccountSID, authToken: SealedValue, nowMs: Int64) throws
    func hasAccount(_ sid: AccountSID) throws -> Bool
    /// Nobody else's transaction adds to what the account has, or changes its settings, until this one has ended.
    /// Behind the person's lock, when both are needed.
    func lock(_ account: AccountSID) throws
    /// Nil: there is no such account.
    func authTokens(of account: AccountSID) throws -> AuthTokens?
    /// Replaces the current token, which becomes the former one.
    /// - Returns: false when there is no such account.
    func replaceAuthToken(of account: AccountSID, with token: SealedValue, formerUntilMs: Int64) throws -> Bool

    func insert(_ key: APIKey, secretHash: [UInt8]) throws
    /// The keys by SID, including revoked keys.
    func keys(account: AccountSID, page: PageRequest) throws -> Page<APIKey>
    /// The number of keys that are not revoked.
    func countKeys(account: AccountSID) throws -> Int
    func countKeys(role: AccountRole) throws -> Int
    /// The key and the hash of its secret. Nil: the key does not exist or is revoked, its account does not exist, or
    /// its role is unknown.
    func keyInUse(_ sid: APIKeySID) throws -> (key: APIKey, secretHash: [UInt8])?
    func account(ofKey sid: APIKeySID) throws -> AccountSID?
    /// - Returns: false when the account has no such key, or it was revoked before.
    func revokeKey(_ sid: APIKeySID, account: AccountSID, nowMs: Int64) throws -> Bool
}

/// The auth tokens of an account.
package struct AuthTokens: Sendable, Hashable {
    package let present: SealedValue
    /// Nil: there is none.
    package let former: SealedValue?
    /// Epoch milliseconds.
    package let formerUntilMs: Int64

    package init(present: SealedValue, former: SealedValue?, formerUntilMs: Int64) {
        self.present = present
        self.former = former
        self.formerUntilMs = formerUntilMs
    }
}

/// `services`. A service that is marked as deleted does not exist for the verbs, except where they say so.
package protocol ServiceRows {
    func insert(_ service: Service) throws
    func service(_ sid: ServiceSID, account: AccountSID) throws -> Service?
    /// Also finds a service that is marked as deleted.
    func serviceOrDeleted(_ sid: ServiceSID) throws -> Service?
    /// By SID.
    func services(account: AccountSID, page: PageRequest) throws -> Page<Service>
    func update(_ service: Service) throws
    /// - Returns: false when there is no such service, or it was already marked.
    func markDeleted(_ sid: ServiceSID, account: AccountSID) throws -> Bool
    /// Any service that is marked as deleted.
    func deletedService() throws -> ServiceSID?
    /// Deletes a service with its webhooks.
    func delete(_ service: ServiceSID) throws
}

/// `credentials` and `deleted_credentials`.
package protocol CredentialRows {
    /// Inserts a credential as version 1.
    func insert(_ credential: Credential, sealed: SealedValue) throws
    func credential(_ sid: CredentialSID, account: AccountSID) throws -> Credential?
    /// By SID.
    func credentials(account: AccountSID, page: PageRequest) throws -> Page<Credential>
    /// Nobody else's transaction judges how its pushes fare until this one has ended. Behind every other lock.
    func lock(_ credential: CredentialSID) throws
    func credentialVersion(_ sid: CredentialSID, account: AccountSID) throws -> Int64?
    /// Deletes a credential, removes it from the services that name it, and records the deletion.
    func deleteCredential(_ sid: CredentialSID, account: AccountSID, deletedVersion: Int64, nowMs: Int64) throws
    /// By SID, those behind `sid`. None of them is deleted until this transaction has ended.
    func sealedCredentials(after sid: String, limit: Int) throws -> [SealedCredential]
    /// By SID, those behind `sid`.
    func deletedCredentials(after sid: String, limit: Int) throws -> [DeletedCredential]
}

package struct SealedCredential: Sendable, Hashable {
    package let sid: CredentialSID
    package let account: AccountSID
    package let sealed: SealedValue
    package let version: Int64

    package init(sid: CredentialSID, account: AccountSID, sealed: SealedValue, version: Int64) {
        self.sid = sid
        self.account = account
        self.sealed = sealed
        self.version = version
    }
}

package struct DeletedCredential: Sendable, Hashable {
    package let sid: CredentialSID
    package let account: AccountSID
    package let version: Int64

    package init(sid: CredentialSID, account: AccountSID, version: Int64) {
        self.sid = sid
        self.account = account
        self.version = version
    }
}

/// `webhooks`.
package protocol WebhookRows {
    func insert(_ webhook: Webhook) throws
    func webhook(_ sid: WebhookSID, service: ServiceSID) throws -> Webhook?
    /// By SID.
    func webhooks(service: ServiceSID, page: PageRequest) throws -> Page<Webhook>
    func countWebhooks(service: ServiceSID) throws -> Int
    func update(_ webhook: Webhook) throws
    func deleteWebhook(_ sid: WebhookSID) throws
}

/// `audit_events`.
package protocol AuditRows {
    /// - Parameter isTraffic: true when the event is kept for the shorter time.
    func insert(_ event: AuditEvent, isTraffic: Bool) throws
    /// The newest first.
    func auditEvents(_ filter: AuditFilter, page: PageRequest) throws -> Page<AuditEvent>
}

/// The keys that sealed values, and all sealed values.
package protocol SealingRows {
    /// Records a key with its proof. The first proof of a key is kept.
    func noteSealing(_ keyID: String, proof: [UInt8]) throws
    /// The keys by id. The proof is nil for a key from a version without proofs.
    func sealingKeys() throws -> [(keyID: String, proof: [UInt8]?)]
    func setProof(_ proof: [UInt8], ofKey keyID: String) throws
    func deleteSealingKey(_ keyID: String) throws
    /// By SID, those behind `sid`.
    func sealedRows(_ place: SealedPlace, under keyID: String, after sid: String, limit: Int) throws -> [SealedRow]
    /// Nothing, when the row holds something else by now.
    func replace(_ former: SealedRow, of place: SealedPlace, with value: SealedValue) throws
}

/// The places where sealed values are stored.
package enum SealedPlace: String, Sendable, CaseIterable {
    case authTokens = "auth-tokens"
    case formerAuthTokens = "former-auth-tokens"
    case credentials
    case codeSecrets = "totp-secrets"
    case numbers
    case webhookSecrets = "webhook-secrets"
    case formerWebhookSecrets = "former-webhook-secrets"
}

package struct SealedRow: Sendable, Hashable {
    package let sid: String
    package let account: String
    package let sealed: [UInt8]

    package init(sid: String, account: String, sealed: [UInt8]) {
        self.sid = sid
        self.account = account
        self.sealed = sealed
    }
}
