public import ChallengeModel

/// A call that was refused because the caller was not authenticated or not allowed. Equal refusals within a minute
/// share one mark.
public struct RefusalMark: Sendable, Hashable {
    public enum Action: String, Sendable, CaseIterable {
        /// A wrong auth token or key secret.
        case login = "login.refused"
        /// The role of the key does not allow the call.
        case role = "role.refused"
        /// A device's token is forged, expired, replayed or another device's.
        case token = "token.refused"
        /// An access token is unknown, expired or used up.
        case accessToken = "access_token.refused"
        /// An answer has a wrong signature, number, session token or code.
        case answer = "answer.refused"
        /// The proof of a factor's key is wrong.
        case factorProof = "factor_proof.refused"
    }

    public let account: AccountSID
    /// The actor that the caller claimed to be: `AC…`, `SK…` or `YF…`; `anonymous` for an access token.
    public let actor: String
    public let action: Action
    /// The challenge or factor of the call; otherwise the actor.
    public let subject: String
    /// The address of the client, like ``AuditEvent/address``.
    public let address: String

    public init(account: AccountSID, actor: String, action: Action, subject: String, address: String) {
        self.account = account
        self.actor = actor
        self.action = action
        self.subject = subject
        self.address = address
    }
}

/// Counts refusals until they are written. Its memory is bounded, however many addresses an attacker uses.
public struct RefusalTally: Sendable {
    /// The word for the actors, subjects and addresses beyond the bound.
    public static let various = "various"
    /// Maximum number of different marks of one account and action within a minute.
    public static let mostPerAccount = 200

    private var counts: [RefusalMark: Int] = [:]
    private var perKind: [String: Int] = [:]
    /// Maximum number of marks over all accounts. Only existing accounts count, so an attacker cannot add accounts.
    private let bound: Int
    /// Refusals that were dropped because there was no place even for a common mark.
    public private(set) var dropped = 0

    public init(bound: Int = 10_000) { self.bound = bound }

    public var isEmpty: Bool { counts.isEmpty }

    public mutating func add(_ mark: RefusalMark) {
        if counts[mark] != nil {
            counts[mark, default: 0] += 1
            return
        }
        let kind = "\(mark.account) \(mark.action.rawValue)"
        if counts.count < bound, perKind[kind, default: 0] < Self.mostPerAccount {
            perKind[kind, default: 0] += 1
            counts[mark] = 1
            return
        }
        let common = RefusalMark(
            account: mark.account, actor: Self.various, action: mark.action, subject: mark.account.rawValue,
            address: Self.various)
        guard counts[common] != nil || counts.count < bound * 2 else {
            dropped += 1
            return
        }
        counts[common, default: 0] += 1
    }

    /// Returns all counts in no particular order, and starts again from zero.
    public mutating func take() -> [(mark: RefusalMark, count: Int)] {
        defer {
            counts = [:]
            perKind = [:]
        }
        return counts.map { (mark: $0.key, count: $0.value) }
    }
}
