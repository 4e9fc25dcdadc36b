public import ChallengeModel

public struct AccountCredentials: Sendable, Hashable {
    public let sid: AccountSID
    /// 64 hexadecimal digits. Shown only once. It is sealed at rest, not hashed, because it signs webhooks.
    public let authToken: String
}

public struct NewService: Sendable, Hashable {
    public var account: AccountSID
    public var friendlyName: String
    public var includeDate = false
    public var apnCredential: CredentialSID?
    public var fcmCredential: CredentialSID?
    public var hmsCredential: CredentialSID?
    public var webPushCredential: CredentialSID?
    /// The other settings of the resource as one JSON object.
    public var settings = "{}"
    public var policy = ServicePolicy()

    public init(account: AccountSID, friendlyName: String) {
        self.account = account
        self.friendlyName = friendlyName
    }
}

/// A member that is nil leaves its setting unchanged. A credential that is `.some(nil)` is removed.
public struct ServiceChange: Sendable, Hashable {
    public var friendlyName: String?
    public var includeDate: Bool?
    public var apnCredential: CredentialSID??
    public var fcmCredential: CredentialSID??
    public var hmsCredential: CredentialSID??
    public var webPushCredential: CredentialSID??
    public var settings: String?
    public var policy: [ServicePolicy.Change] = []
    public init() {}
}

public struct Service: Sendable, Hashable {
    public let sid: ServiceSID
    public let account: AccountSID
    public var friendlyName: String
    public var includeDate: Bool
    public var apnCredential: CredentialSID?
    public var fcmCredential: CredentialSID?
    public var settings: String
    public let createdAtMs: Int64
    public var updatedAtMs: Int64
    public var hmsCredential: CredentialSID?
    public var webPushCredential: CredentialSID?
    public var policy = ServicePolicy()

    package init(
        sid: ServiceSID, account: AccountSID, friendlyName: String, includeDate: Bool, apnCredential: CredentialSID?,
        fcmCredential: CredentialSID?, settings: String, createdAtMs: Int64, updatedAtMs: Int64,
        hmsCredential: CredentialSID? = nil, webPushCredential: CredentialSID? = nil,
        policy: ServicePolicy = ServicePolicy()
    ) {
        self.sid = sid
        self.account = account
        self.friendlyName = friendlyName
        self.includeDate = includeDate
        self.apnCredential = apnCredential
        self.fcmCredential = fcmCredential
        self.settings = settings
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
        self.hmsCredential = hmsCredential
        self.webPushCredential = webPushCredential
        self.policy = policy
    }
}

/// A provider credential without its secret.
public struct Credential: Sendable, Hashable {
    public let sid: CredentialSID
    public let account: AccountSID
    /// `apn`, `fcm` or `hms`.
    public let type: String
    public let friendlyName: String
    public let sandbox: Bool
    public let createdAtMs: Int64
    public let updatedAtMs: Int64

    package init(
        sid: CredentialSID, account: AccountSID, type: String, friendlyName: String, sandbox: Bool, createdAtMs: Int64,
        updatedAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.type = type
        self.friendlyName = friendlyName
        self.sandbox = sandbox
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
    }
}

public struct Entity: Sendable, Hashable {
    public let sid: EntitySID
    public let account: AccountSID
    public let service: ServiceSID
    public let identity: String
    public let createdAtMs: Int64
    public let updatedAtMs: Int64

    package init(
        sid: EntitySID, account: AccountSID, service: ServiceSID, identity: String, createdAtMs: Int64,
        updatedAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.identity = identity
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
    }
}

public struct NewAccessToken: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    public var factorFriendlyName: String?
    /// 60 to 300.
    public var ttlSeconds: Int

    public init(
        account: AccountSID, service: ServiceSID, identity: String, factorFriendlyName: String? = nil,
        ttlSeconds: Int = 60
    ) {
        self.account = account
        self.service = service
        self.identity = identity
        self.factorFriendlyName = factorFriendlyName
        self.ttlSeconds = ttlSeconds
    }
}

public struct AccessToken: Sendable, Hashable {
    public let sid: AccessTokenSID
    public let account: AccountSID
    public let service: ServiceSID
    public let identity: String
    public let factorFriendlyName: String?
    public let ttlSeconds: Int
    public let createdAtMs: Int64

    package init(
        sid: AccessTokenSID, account: AccountSID, service: ServiceSID, identity: String, factorFriendlyName: String?,
        ttlSeconds: Int, createdAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.identity = identity
        self.factorFriendlyName = factorFriendlyName
        self.ttlSeconds = ttlSeconds
        self.createdAtMs = createdAtMs
    }
}

public struct NewFactor: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    public var friendlyName: String
    /// SubjectPublicKeyInfo, DER, P-256.
    public var publicKey: [UInt8]
    public var platform: Platform
    public var pushToken: String?
    public var appID: String
    public var environment: ProviderEnvironment = .environmentUnspecified
    public var sdkVersion: String?
    public var notificationsEnabled: Bool?
    /// JSON text of an object of strings.
    public var metadata: String?

    public init(
        account: AccountSID, service: ServiceSID, identity: String, friendlyName: String, publicKey: [UInt8],
        platform: Platform, pushToken: String?, appID: String
    ) {
        self.account = account
        self.service = service
        self.identity = identity
        self.friendlyName = friendlyName
        self.publicKey = publicKey
        self.platform = platform
        self.pushToken = pushToken
        self.appID = appID
    }
}

/// What is nil stays.
public struct FactorChange: Sendable, Hashable {
    public var friendlyName: String?
    public var platform: Platform?
    /// With platform `noPush` the token is removed.
    public var pushToken: String?
    public var appID: String?
    public var environment: ProviderEnvironment?
    public var sdkVersion: String?
    public var notificationsEnabled: Bool?
    public init() {}
}

public struct Factor: Sendable, Hashable {
    public let sid: FactorSID
    public let account: AccountSID
    public let service: ServiceSID
    public let entity: EntitySID
    public let identity: String
    public var friendlyName: String
    public var isVerified: Bool
    public let publicKey: [UInt8]
    /// `config.credential_sid`, the `kid` of the device's JWTs; unique per factor.
    public let keyID: CredentialSID
    public var platform: Platform
    public var pushToken: String?
    public var appID: String
    public var environment: ProviderEnvironment
    public var sdkVersion: String?
    public var notificationsEnabled: Bool?
    public var metadata: String?
    /// Time at which the push token was last set.
    public var registeredAtMs: Int64
    public let createdAtMs: Int64
    public var updatedAtMs: Int64
    /// Time since which its push token is known to be dead. Such a factor gets no pushes, but can poll. Nil: it gets
    /// pushes.
    public var unreachableAtMs: Int64?
    /// Time of the last request that the device signed, with a precision of twelve hours.
    public var signedAtMs: Int64 = 0
    /// The device has never sent a receipt of its own, for example because its app knows no receipts. That it does not
    /// confirm a push then says nothing.
    public var isSilent = false

    package init(
        sid: FactorSID, account: AccountSID, service: ServiceSID, entity: EntitySID, identity: String,
        friendlyName: String, isVerified: Bool, publicKey: [UInt8], keyID: CredentialSID, platform: Platform,
        pushToken: String?, appID: String, environment: ProviderEnvironment, sdkVersion: String?,
        notificationsEnabled: Bool?, metadata: String?, registeredAtMs: Int64, createdAtMs: Int64, updatedAtMs: Int64,
        unreachableAtMs: Int64? = nil, signedAtMs: Int64 = 0, isSilent: Bool = false
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.entity = entity
        self.identity = identity
        self.friendlyName = friendlyName
        self.isVerified = isVerified
        self.publicKey = publicKey
        self.keyID = keyID
        self.platform = platform
        self.pushToken = pushToken
        self.appID = appID
        self.environment = environment
        self.sdkVersion = sdkVersion
        self.notificationsEnabled = notificationsEnabled
        self.metadata = metadata
        self.registeredAtMs = registeredAtMs
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
        self.unreachableAtMs = unreachableAtMs
        self.signedAtMs = signedAtMs
        self.isSilent = isSilent
    }
}
