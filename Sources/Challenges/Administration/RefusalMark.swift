public import ChallengeModel

/// What was refused to somebody who could not say who they are, or may not do it: the same within a minute is one mark.
public struct RefusalMark: Sendable, Hashable {
    public enum Action: String, Sendable, CaseIterable {
        /// A wrong auth token or key secret.
        case login = "login.refused"
        /// A role that may not call this.
        case role = "role.refused"
        /// A device's token that is forged, over, replayed or another's.
        case token = "token.refused"
        /// An access token that is unknown, over or spent.
        case accessToken = "access_token.refused"
        /// An answer that does not count: a wrong signature, number, session token or code.
        case answer = "answer.refused"
        /// A factor's proof that is wrong.
        case factorProof = "factor_proof.refused"
    }

    public let account: AccountSID
    /// `AC…`, `SK…` or `YF…`, as it was claimed; `anonymous` for an access token.
    public let actor: String
    public let action: Action
    /// The challenge or factor that it was about; else the actor.
    public let subject: String
    /// Of the client, as ``AuditEvent/address``.
    public let address: String

    public init(account: AccountSID, actor: String, action: Action, subject: String, address: String) {
        self.account = account
        self.actor = actor
        self.action = action
        self.subject = subject
        self.address = address
    }
}

/// Counts refusals until they are written: bounded in memory, however many addresses a stranger has.
public struct RefusalTally: Sendable {
    /// What stands for the actors, subjects and addresses beyond the bound.
    public static let various = "various"
    /// Marks of one account and action that are told apart within a minute.
    public static let mostPerAccount = 200

    private var counts: [RefusalMark: Int] = [:]
    private var perKind: [String: Int] = [:]
    /// Marks over all accounts; accounts exist, so that no stranger makes more of them.
    private let bound: Int
    /// Refusals that not even a common mark was left for.
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

    /// Everything counted so far, in no order; it starts anew.
    public mutating func take() -> [(mark: RefusalMark, count: Int)] {
        defer {
            counts = [:]
            perKind = [:]
        }
        return counts.map { (mark: $0.key, count: $0.value) }
    }
}
