public import ChallengeModel

/// Factors of type `totp` and their challenges. No device and no push: the backend brings the code that the person typed.
public protocol CodeFactorStore: Sendable {
    /// The secret is sealed at rest and never returned again.
    /// - Throws: `notFound(.service)`, `conflict(.factor)` for a secret that a factor of the identity has, `limit(.codeFactors)` at
    ///   100, `limit(.factorCreations)` at 100 in a day.
    func createCodeFactor(_ new: NewCodeFactor, nowMs: Int64) async throws -> CodeFactor
    func codeFactor(
        _ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> CodeFactor?
    /// `unverified` to `verified` by its first code. A good code of a verified factor changes nothing, and is used up all the same.
    /// - Throws: `codeRefused`, `limit(.factorAttempts)` after 5 wrong ones, `notFound(.factor)`.
    func verifyCodeFactor(_ sid: FactorSID, code: String, nowMs: Int64) async throws -> CodeFactor
    func updateCodeFactor(_ sid: FactorSID, _ change: CodeFactorChange, nowMs: Int64) async throws -> CodeFactor
    func deleteCodeFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool
    /// Factors of both types, by creation.
    func allFactors(
        account: AccountSID, service: ServiceSID, identity: String, page: PageRequest
    ) async throws -> Page<AnyFactor>

    /// - Parameter code: when given, it is tried at once; a wrong one leaves the challenge pending and counts as a try.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `limit(.challengeCreations)`, `idempotencyConflict`; `repeated` when its
    ///   idempotency key made one before.
    func createCodeChallenge(_ new: NewChallenge, code: String?, nowMs: Int64) async throws -> Challenge
    /// - Throws: `codeRefused`, `limit(.challengeAttempts)` after 5 wrong ones, `alreadyResponded`, `alreadyExpired`,
    ///   `notFound(.challenge)`, `notFound(.factor)` when its factor is gone.
    func answerCodeChallenge(
        _ sid: ChallengeSID, code: String, metadata: String?, nowMs: Int64
    ) async throws -> Challenge
}

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

/// What is nil stays.
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

    /// Whether it is, if it is anything, a factor of type `totp`: every SID of ours says its type in its first two digits.
    public var isCodeFactor: Bool { rawValue.hasPrefix("YF02") }
}

extension Challenge {
    /// Answered by a code, not by a device.
    public var isCodeChallenge: Bool { factor?.isCodeFactor == true }

    /// As the API and events call it.
    public var factorType: String { isCodeChallenge ? "totp" : "push" }
}
