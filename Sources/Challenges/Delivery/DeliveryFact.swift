public import ChallengeModel
import Wire

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

extension ChallengeStore {
    /// Keeps a fact, and once only however often it is told: ids follow from the record. Facts of a challenge that is not here, or
    /// is another account's, are dropped; so are those beyond 400 of one challenge. They go when the challenge goes.
    ///
    /// A new fact may stop pushes to a factor (a dead token), take that back (many at once), or show that a credential is refused;
    /// the events leave through the outbox of the same transaction.
    /// - Returns: whether it was new.
    public func recordDelivery(_ fact: DeliveryFact, nowMs: Int64) async throws -> Bool {
        guard let challenge = ChallengeSID(fact.challengeSID) else { return false }
        let (id, bytes) = (fact.id, fact.kept)
        return try await write(nowMs) { decision in
            guard try decision.rows.hasChallenge(challenge, account: fact.accountSID),
                try decision.rows.countFacts(of: challenge) < StorePolicy.factsPerChallenge,
                try decision.rows.insertFact(bytes, id: id, of: challenge)
            else { return false }
            if case .outcome(let outcome) = fact { try decision.learn(outcome) }
            return true
        }
    }

    /// The facts kept of a challenge, without what its reader knows anyway, in no order; at most 400.
    public func deliveryFacts(of challenge: ChallengeSID) async throws -> [DeliveryFact] {
        let kept = try await engine.read { try $0.facts(of: challenge, limit: StorePolicy.factsPerChallenge) }
        return try kept.compactMap { id, fact -> DeliveryFact? in
            // An older version kept what this one does not read any more: the others are shown all the same.
            do { return try DeliveryFact(id: id, kept: fact) } catch is RecordFormatError { return nil }
        }
    }

    /// A text per challenge that changes with every change of it and of its facts; nil for one that is gone. In the given order.
    public func challengeVersions(_ challenges: [ChallengeSID]) async throws -> [String?] {
        guard !challenges.isEmpty else { return [] }
        return try await engine.read { try $0.challengeVersions(challenges) }
    }

    /// A device signed a request. Written at most twice a day: it is days that count.
    public func noteSigned(by factor: Factor, nowMs: Int64) async throws {
        guard factor.signedAtMs <= nowMs - StorePolicy.signedResolutionMs else { return }
        try requireWritable()
        try await write(nowMs) { try $0.rows.noteSigned(factor.sid, nowMs: nowMs) }
    }
}

extension DeliveryFact {
    /// Follows from the record: a record that is read again changes nothing. Receipts of one channel count once per device.
    var id: String {
        switch self {
        case .outcome(let outcome):
            "o \(outcome.factorSid) \(outcome.dispatchID.prefix(40)) \(outcome.kind.rawValue) \(outcome.disposition.rawValue)"
        case .receipt(let receipt): "r \(receipt.factorSid) \(receipt.channel.rawValue) \(receipt.shown.rawValue)"
        case .escalation: "e"
        }
    }

    /// What the row holds: nothing that its challenge says, and no more text than needed.
    var kept: [UInt8] {
        switch self {
        case .outcome(let outcome):
            var kept = PushOutcome()
            kept.factorSid = outcome.factorSid
            kept.dispatchID = String(outcome.dispatchID.prefix(40))
            kept.kind = outcome.kind
            kept.disposition = outcome.disposition
            kept.dropReason = outcome.dropReason
            kept.reason = String(outcome.reason.prefix(64))
            kept.providerStatus = outcome.providerStatus
            kept.retryAtMs = outcome.retryAtMs
            kept.platform = outcome.platform
            kept.sentAtMs = outcome.sentAtMs
            kept.atMs = outcome.atMs
            return kept.protobufBytes()
        case .receipt(let receipt):
            var kept = Receipt()
            kept.factorSid = receipt.factorSid
            kept.dispatchID = String(receipt.dispatchID.prefix(40))
            kept.channel = receipt.channel
            kept.shown = receipt.shown
            kept.receivedAtMs = receipt.receivedAtMs
            return kept.protobufBytes()
        case .escalation(let escalation):
            var kept = Escalation()
            kept.devices = escalation.devices.prefix(20).map { device in
                var device = device
                device.reason = String(device.reason.prefix(64))
                device.detail = String(device.detail.prefix(64))
                return device
            }
            kept.fallbacks = escalation.fallbacks.prefix(8).map { String($0.prefix(32)) }
            kept.advice = String(escalation.advice.prefix(200))
            kept.attempts = escalation.attempts
            kept.atMs = escalation.atMs
            return kept.protobufBytes()
        }
    }

    init(id: String, kept: [UInt8]) throws {
        let protobuf = ContentType.protobuf.rawValue
        switch id.first {
        case "o": self = .outcome(try PushOutcome(value: kept, contentType: protobuf))
        case "r": self = .receipt(try Receipt(value: kept, contentType: protobuf))
        case "e": self = .escalation(try Escalation(value: kept, contentType: protobuf))
        default: throw StoreError.failed("a delivery fact of an unknown kind")
        }
    }
}
