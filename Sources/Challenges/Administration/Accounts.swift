public import ChallengeModel

/// The credentials that a backend sent.
public enum Login: Sendable, Hashable {
    case account(AccountSID, authToken: String)
    case key(APIKeySID, secret: String)
}

/// The rights of a caller.
public enum AccountRole: String, Sendable, Hashable, CaseIterable {
    /// Everything.
    case full
    /// May create, fetch, resend and cancel challenges, and read factors.
    case send
    /// May create access and session tokens, and create and read factors.
    case enrol
    /// The rights of `send` before the role `enrol` existed. Keys of that time keep them; no new key gets this role.
    case sendAndEnrol = "send+enrol"
    /// May only use GET, and cannot read numbers or evidence.
    case read

    /// The roles that a new key may have.
    public static let offered: [AccountRole] = [.full, .send, .enrol, .read]

    /// The roles whose rights this role combines.
    public var parts: Set<AccountRole> { self == .sendAndEnrol ? [.send, .enrol] : [self] }
}

/// An authenticated backend.
public struct Principal: Sendable, Hashable {
    public let account: AccountSID
    public let role: AccountRole
    /// Nil: the account's auth token, whose role is `full`.
    public let key: APIKeySID?

    /// The actor in the audit trail.
    public var actor: String { key?.rawValue ?? account.rawValue }

    public init(account: AccountSID, role: AccountRole, key: APIKeySID?) {
        self.account = account
        self.role = role
        self.key = key
    }
}

public struct APIKey: Sendable, Hashable {
    public let sid: APIKeySID
    public let account: AccountSID
    public let role: AccountRole
    public let friendlyName: String
    public let createdAtMs: Int64
    public let revokedAtMs: Int64?

    package init(
        sid: APIKeySID, account: AccountSID, role: AccountRole, friendlyName: String, createdAtMs: Int64,
        revokedAtMs: Int64?
    ) {
        self.sid = sid
        self.account = account
        self.role = role
        self.friendlyName = friendlyName
        self.createdAtMs = createdAtMs
        self.revokedAtMs = revokedAtMs
    }
}

/// One change, or the equal refusals of one minute. It contains no secret and no identity. Text from a caller appears
/// only in ``detail``, as the value of a setting.
public struct AuditEvent: Sendable, Hashable {
    public let sid: AuditEventSID
    public let account: AccountSID
    public let atMs: Int64
    /// `AC…` (auth token), `SK…`, `YF…` (a device), `YK…` (an access token), `kafka`, `operator` (command line),
    /// `system`; in a refusal, the actor that the caller claimed to be, `anonymous` or `various`.
    public let actor: String
    /// `service.created`, `key.revoked`, …
    public let action: String
    /// The SID of the changed resource.
    public let subject: String
    /// `RQ…` of the HTTP request; nil: none.
    public let requestID: String?
    /// Address of the client that called over HTTP; nil: no client.
    public let address: String?
    /// How many equal refusals of the minute before ``atMs`` this event stands for; 1 for a change.
    public let count: Int
    /// JSON text of an object: of changed settings the values before and after, `{"<setting>":{"before":…,"after":…}}`;
    /// of a replay `{"events":3}`; of a webhook that was disabled `{"disabled_reason":"gone"}`; nil: none. Events of
    /// older releases may have another text.
    public let detail: String?

    package init(
        sid: AuditEventSID, account: AccountSID, atMs: Int64, actor: String, action: String, subject: String,
        requestID: String?, address: String?, count: Int, detail: String?
    ) {
        self.sid = sid
        self.account = account
        self.atMs = atMs
        self.actor = actor
        self.action = action
        self.subject = subject
        self.requestID = requestID
        self.address = address
        self.count = count
        self.detail = detail
    }
}

public struct AuditFilter: Sendable, Hashable {
    public var account: AccountSID
    public var actor: String?
    public var subject: String?

    public init(account: AccountSID, actor: String? = nil, subject: String? = nil) {
        self.account = account
        self.actor = actor
        self.subject = subject
    }
}

public enum AuditEventKind: SIDKind { public static let prefix = "AE" }
public typealias AuditEventSID = SID<AuditEventKind>
