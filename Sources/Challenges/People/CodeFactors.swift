public import ChallengeModel

public struct NewCodeFactor: Sendable, Hashable {
    public var account: AccountSID
    public var service: ServiceSID
    public var identity: String
    public var friendlyName: String
    public var secret: [UInt8]
    public var code: OneTimeCode
    /// JSON text of an object of strings.
    public var metadata: String?

    public init(
        account: AccountSID, service: ServiceSID, identity: String, friendlyName: String, secret: [UInt8],
        code: OneTimeCode, metadata: String? = nil
    ) {
        self.account = account
        self.service = service
        self.identity = identity
        self.friendlyName = friendlyName
        self.secret = secret
        self.code = code
        self.metadata = metadata
    }
}

/// A member that is nil leaves its setting unchanged.
public struct CodeFactorChange: Sendable, Hashable {
    public var friendlyName: String?
    public var code: OneTimeCode?
    public init() {}
}

public struct CodeFactor: Sendable, Hashable {
    public let sid: FactorSID
    public let account: AccountSID
    public let service: ServiceSID
    public let entity: EntitySID
    public let identity: String
    public var friendlyName: String
    public var isVerified: Bool
    public var code: OneTimeCode
    public var metadata: String?
    public let createdAtMs: Int64
    public var updatedAtMs: Int64

    package init(
        sid: FactorSID, account: AccountSID, service: ServiceSID, entity: EntitySID, identity: String,
        friendlyName: String, isVerified: Bool, code: OneTimeCode, metadata: String?, createdAtMs: Int64,
        updatedAtMs: Int64
    ) {
        self.sid = sid
        self.account = account
        self.service = service
        self.entity = entity
        self.identity = identity
        self.friendlyName = friendlyName
        self.isVerified = isVerified
        self.code = code
        self.metadata = metadata
        self.createdAtMs = createdAtMs
        self.updatedAtMs = updatedAtMs
    }
}

public enum AnyFactor: Sendable, Hashable {
    case push(Factor)
    case code(CodeFactor)

    public var sid: FactorSID {
        switch self {
        case .push(let factor): factor.sid
        case .code(let factor): factor.sid
        }
    }
}

extension FactorSID {
    /// The variant digits of a factor of type `totp`; push factors have `03`.
    static let codeVariant: UInt8 = 0x02

    /// The beginning of the SID of every factor of type `totp`: the first two digits of a factor SID give its type.
    package static let codePrefix = "YF02"

    /// Whether a factor with this SID has type `totp`.
    public var isCodeFactor: Bool { rawValue.hasPrefix(Self.codePrefix) }
}

extension Challenge {
    /// Whether the challenge is answered by a code, not by a device.
    public var isCodeChallenge: Bool { factor?.isCodeFactor == true }

    /// The factor type in the API and in events.
    public var factorType: String { isCodeChallenge ? "totp" : "push" }
}
