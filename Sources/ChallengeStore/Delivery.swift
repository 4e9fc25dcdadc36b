public import ChallengeModel

/// What is known of a challenge's way to its devices: a record of `outcomes` or `receipts`, as read.
public enum DeliveryFact: Sendable, Hashable {
    case outcome(PushOutcome)
    case receipt(Receipt)
    case escalation(Escalation)

    /// `YC…`, as the record names it.
    public var challengeSID: String {
        switch self {
        case .outcome(let outcome): outcome.challengeSid
        case .receipt(let receipt): receipt.challengeSid
        case .escalation(let escalation): escalation.challengeSid
        }
    }

    /// `AC…`, as the record names it.
    public var accountSID: String {
        switch self {
        case .outcome(let outcome): outcome.accountSid
        case .receipt(let receipt): receipt.accountSid
        case .escalation(let escalation): escalation.accountSid
        }
    }
}

/// What became of pushes, and what follows from it for push tokens and credentials.
public protocol DeliveryStore: Sendable {
    /// Keeps a fact, and once only however often it is told: ids follow from the record. Facts of a challenge that is not here, or
    /// is another account's, are dropped; so are those beyond 400 of one challenge. They go when the challenge goes.
    ///
    /// A new fact may stop pushes to a factor (a dead token), take that back (many at once), or show that a credential is refused;
    /// the events leave through the outbox of the same transaction.
    /// - Returns: whether it was new.
    func recordDelivery(_ fact: DeliveryFact, nowMs: Int64) async throws -> Bool
    /// The facts kept of a challenge, without what its reader knows anyway, in no order; at most 400.
    func deliveryFacts(of challenge: ChallengeSID) async throws -> [DeliveryFact]
    /// A text per challenge that changes with every change of it and of its facts; nil for one that is gone. In the given order.
    func challengeVersions(_ challenges: [ChallengeSID]) async throws -> [String?]
    /// A device signed a request. Written at most twice a day: it is days that count.
    func noteSigned(by factor: Factor, nowMs: Int64) async throws
}

/// When many dead push tokens of a credential are not believed: so a wrong key, a wrong environment, or a provider's fault looks.
public struct TokenBrake: Sendable, Hashable {
    /// Deaths within this time of each other count together, and an incident ends when it passes without one. Default 30 min.
    public var windowMs: Int64 = 30 * 60_000
    /// Fewer dead tokens than this are always believed; default 10.
    public var minimum: Int64 = 10
    /// Percent of dead tokens among dead tokens and accepted visible pushes from which they are not; default 50.
    public var sharePercent: Int64 = 50

    public init() {}
}
