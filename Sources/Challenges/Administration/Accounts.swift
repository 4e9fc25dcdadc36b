public import ChallengeModel

/// What a backend sent to say who it is.
public enum Login: Sendable, Hashable {
    case account(AccountSID, authToken: String)
    case key(APIKeySID, secret: String)
}

/// What a caller may do.
public enum AccountRole: String, Sendable, Hashable, CaseIterable {
    /// Everything.
    case full
    /// Create, fetch, resend and cancel challenges, read factors.
    case send
    /// Make access and session tokens, create and read factors.
    case enrol
    /// What `send` was before `enrol` was split off it: keys of that time keep it, and no other gets it.
    case sendAndEnrol = "send+enrol"
    /// GET only; no number, no evidence.
    case read

    /// Those that a new key may have.
    public static let offered: [AccountRole] = [.full, .send, .enrol, .read]

    /// The roles that this one is made of.
    public var parts: Set<AccountRole> { self == .sendAndEnrol ? [.send, .enrol] : [self] }
}

/// A backend, proven.
public struct Principal: Sendable, Hashable {
    public let account: AccountSID
    public let role: AccountRole
    /// Nil: the account's auth token, whose role is `full`.
    public let key: APIKeySID?

    /// For the audit trail.
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

/// One change, or what was refused within a minute. Holds no secret and no identity; what a caller wrote in ``detail`` only, as the
/// value of a setting.
public struct AuditEvent: Sendable, Hashable {
    public let sid: AuditEventSID
    public let account: AccountSID
    public let atMs: Int64
    /// `AC…` (auth token), `SK…`, `YF…` (a device), `YK…` (an access token), `kafka`, `operator` (command line), `system`; of a
    /// refusal who it claimed to be, `anonymous` or `various`.
    public let actor: String
    /// `service.created`, `key.revoked`, …
    public let action: String
    /// The SID of what was changed.
    public let subject: String
    /// `RQ…` of the HTTP request; nil: none.
    public let requestID: String?
    /// Of the client that asked over HTTP; nil: none.
    public let address: String?
    /// How many of its kind it stands for: more than one for refusals only, those of the minute before ``atMs``.
    public let count: Int
    /// JSON text of an object: of changed settings the values before and after, `{"<setting>":{"before":…,"after":…}}`; nil: none.
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
