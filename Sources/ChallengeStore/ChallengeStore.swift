public import ChallengeModel

/// Where Beckon keeps what must last. The store decides: the final status of a challenge is one compare-and-set in here, and
/// whatever follows from a change is an outbox row of the same transaction.
///
/// Every method takes the time as epoch milliseconds: there is no clock inside. Writes return after their commit is on disk.
/// All throw ``StoreError``. A write whose task is cancelled is still carried out.
public protocol ChallengeStore: AccountStore, CodeFactorStore, DeliveryStore, OutboxStore, PolicyStore, WebhookStore {
    // Services
    func createService(_ new: NewService, nowMs: Int64) async throws -> Service
    func service(_ sid: ServiceSID, account: AccountSID) async throws -> Service?
    func services(account: AccountSID, page: PageRequest) async throws -> Page<Service>
    func updateService(
        _ sid: ServiceSID, account: AccountSID, _ change: ServiceChange, nowMs: Int64
    ) async throws -> Service
    func deleteService(_ sid: ServiceSID, account: AccountSID, nowMs: Int64) async throws -> Bool

    // Credentials
    /// Seals the secret at rest and writes it, sealed, to topic `configuration`.
    /// - Parameter secret: its `credential_sid` and `account_sid` are filled in here.
    func createCredential(
        account: AccountSID, friendlyName: String, secret: ProviderCredential, nowMs: Int64
    ) async throws -> Credential
    func credential(_ sid: CredentialSID, account: AccountSID) async throws -> Credential?
    func credentials(account: AccountSID, page: PageRequest) async throws -> Page<Credential>
    /// Writes a tombstone to `configuration`.
    func deleteCredential(_ sid: CredentialSID, account: AccountSID, nowMs: Int64) async throws -> Bool
    /// Writes every credential to `configuration` again: at start, for a broker that has lost or never had them.
    func republishConfiguration(nowMs: Int64) async throws

    // Entities
    /// - Throws: `conflict(.entity)` when the service has that identity already (case-insensitive).
    func createEntity(account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64) async throws -> Entity
    /// - Parameter identity: the customer's string, or the `YE` SID.
    func entity(account: AccountSID, service: ServiceSID, identity: String) async throws -> Entity?
    func entities(account: AccountSID, service: ServiceSID, page: PageRequest) async throws -> Page<Entity>
    /// Deletes its factors and challenges too.
    func deleteEntity(account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64) async throws -> Bool

    // Access tokens
    /// - Returns: the token's row and its secret, which is kept as a hash only.
    func createAccessToken(_ new: NewAccessToken, nowMs: Int64) async throws -> (AccessToken, secret: String)
    func accessToken(_ sid: AccessTokenSID, account: AccountSID, service: ServiceSID) async throws -> AccessToken?

    // Factors
    /// - Parameter accessToken: what the device sent; nil when the backend enrols. Checked in the same transaction.
    /// - Throws: `accessTokenRefused`, `conflict(.factor)` for the same public key, `factorLimit`.
    func createFactor(_ new: NewFactor, accessToken: String?, nowMs: Int64) async throws -> Factor
    func factor(_ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String) async throws -> Factor?
    /// By the `kid` of a device's JWT, which is unique per factor.
    func factor(keyID: String) async throws -> Factor?
    func factors(
        account: AccountSID, service: ServiceSID, identity: String, page: PageRequest
    ) async throws -> Page<Factor>
    /// What one request asks for, in one transaction. A changed push token reaches the live challenges as `DeviceChanged`. A verified
    /// factor takes the place of others with its push token, platform and app. A device's request that was done before changes
    /// nothing more.
    /// - Parameter isProven: the device has shown that the key is its own: `unverified` to `verified`, and its access token is spent.
    /// - Throws: `notFound(.factor)`, `factorLimit` when there is no room for one more that is verified.
    func updateFactor(
        _ sid: FactorSID, isProven: Bool, _ change: FactorChange, nowMs: Int64
    ) async throws -> Factor
    func deleteFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool

    // Challenges, which ``PolicyStore`` makes
    /// - Parameter factor: when given, only a challenge that is addressed to it.
    func challenge(
        _ sid: ChallengeSID, account: AccountSID, service: ServiceSID, identity: String, factor: FactorSID?
    ) async throws -> Challenge?
    /// Whose ever it is: for receipts that a provider signs, which name the challenge only.
    func challenge(_ sid: ChallengeSID) async throws -> Challenge?
    func challenges(_ filter: ChallengeFilter, page: PageRequest, nowMs: Int64) async throws -> Page<Challenge>
    /// The one compare-and-set. The winner's transaction writes the `Resolution` and its event.
    /// - Throws: `alreadyResponded`, `alreadyExpired`, `notFound(.challenge)`; `approvalRefused`, and the challenge stays pending, or
    ///   is denied at the third wrong number.
    func answer(_ answer: Answer, nowMs: Int64) async throws -> Challenge
    /// Expires up to `limit` challenges whose time has come. - Returns: how many.
    func expireDue(limit: Int, nowMs: Int64) async throws -> Int
    /// A device has seen these pending challenges: a receipt of channel `poll`, once per (challenge, factor).
    func recordPoll(_ challenges: [ChallengeSID], factor: FactorSID, nowMs: Int64) async throws
    /// Writes a checked receipt to topic `receipts`.
    func recordReceipt(_ receipt: Receipt) async throws
    /// Likewise, with what its device says of itself beside it, in one transaction. A request that was done before does nothing more.
    func recordReceipt(_ receipt: Receipt, with change: FactorChange, nowMs: Int64) async throws
    /// Writes dispatch `n:<NT>`. - Throws: `limit(.notifications)` at 3, `alreadyResponded`, `alreadyExpired`, `limited`.
    /// - Parameter ttlSeconds: how long a provider may hold the push, at most until the challenge expires; 0: now or never;
    ///   nil: until it expires.
    func createNotification(challenge: ChallengeSID, ttlSeconds: Int?, nowMs: Int64) async throws -> NotificationSID

    /// Transactions committed by this process so far.
    var commits: Int { get }
    /// Why writes fail for now; nil: the last one was done.
    var fault: StoreFault? { get }
    /// Writes, and changes nothing: finds out whether a ``fault`` is over.
    func probe() async

    /// Waits for the writes under way and closes the files. Later calls throw `closed`.
    func close() async
}

extension ChallengeStore {
    public func verifyFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Factor {
        try await updateFactor(sid, isProven: true, FactorChange(), nowMs: nowMs)
    }

    public func updateFactor(_ sid: FactorSID, _ change: FactorChange, nowMs: Int64) async throws -> Factor {
        try await updateFactor(sid, isProven: false, change, nowMs: nowMs)
    }

    public func createNotification(challenge: ChallengeSID, nowMs: Int64) async throws -> NotificationSID {
        try await createNotification(challenge: challenge, ttlSeconds: nil, nowMs: nowMs)
    }
}

/// Why the store refused.
public enum StoreError: Error, Sendable, Equatable {
    public enum Kind: String, Sendable {
        case account, service, credential, entity, factor, challenge, accessToken, webhook
    }
    public enum Limit: String, Sendable {
        case notifications, codeFactors, factorCreations, factorAttempts, challengeAttempts, challengeCreations
        case entityCreations, webhooks, keys
    }

    case notFound(Kind)
    case conflict(Kind)
    case limit(Limit)
    /// - Parameter bound: the push factors that the identity may have: the service's number, or twenty with those never verified.
    case factorLimit(bound: Int)
    /// Unknown, expired, for another service or identity, used up or spent.
    case accessTokenRefused
    /// A device's token was used for another request that changed something.
    case tokenReplayed
    case factorUnverified
    /// A one-time code is wrong, or was used.
    case codeRefused
    /// - Parameter fallbacks: the challenge's, or the service's.
    case noVerifiedFactor(fallbacks: [String])
    /// The service allows no fan-out.
    case factorRequired
    /// A challenge asks for less than its service demands.
    case loosened(ApprovalRule)
    /// A signed approval lacks what the challenge needs beside it.
    case approvalRefused(ApprovalRefusal)
    case limited(LimitRefusal)
    /// An idempotency key was used for another request.
    case idempotencyConflict
    /// An idempotency key made this before: where the caller asks for it first, and another was quicker.
    case repeated
    case alreadyResponded
    case alreadyExpired
    /// A request id was rejected before, or what it made is gone: it makes nothing any more.
    case requestClosed
    /// A text holds U+0000, which ends texts in databases.
    case nulInText
    /// More writes wait than the bound allows.
    case busy
    /// Nothing was done, and the same may be done later.
    case unavailable(StoreFault)
    case closed
    /// A sealed value that no key opens, or a database error; never with values in it.
    case failed(String)
}

/// One page of a list, by a cursor that the store made.
public struct PageRequest: Sendable, Hashable {
    /// 1 to 1,000.
    public var size: Int
    /// The cursor of a page before; nil: the first.
    public var after: String?

    public init(size: Int = 50, after: String? = nil) {
        self.size = size
        self.after = after
    }
}

public struct Page<Item: Sendable>: Sendable {
    public let items: [Item]
    /// The cursor of the next page; nil: this was the last.
    public let next: String?

    public init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }
}
