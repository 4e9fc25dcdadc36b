public import ChallengeModel
import Wire

/// A fact about the delivery of a challenge: a record from `outcomes` or `receipts`.
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

/// The rule that decides when many dead push tokens of one credential are not believed. A wrong key, a wrong
/// environment or a provider's fault can cause such reports.
public struct TokenBrake: Sendable, Hashable {
    /// Tokens that die within this time are counted together. An incident ends when this time passes without a dead
    /// token. Default 30 min.
    public var windowMs: Int64 = 30 * 60_000
    /// Fewer dead tokens than this are always believed; default 10.
    public var minimum: Int64 = 10
    /// Dead tokens as a percentage of dead tokens and accepted visible pushes. At this share, no dead token is
    /// believed. Default 50.
    public var sharePercent: Int64 = 50

    public init() {}
}

extension ChallengeStore {
    /// Stores a fact. A fact that is read again is stored only once, because its id follows from the record. Facts
    /// about an unknown challenge or a challenge of another account are dropped, and so are facts beyond 400 of one
    /// challenge. Facts are deleted with their challenge. A new fact can stop the pushes to a factor (a dead token),
    /// start them again (many dead tokens at once), show that a credential is refused, or that a device sends receipts.
    /// The same transaction writes the events to the outbox.
    /// - Returns: whether the fact was new.
    public func recordDelivery(_ fact: DeliveryFact, nowMs: Int64) async throws -> Bool {
        guard let challenge = ChallengeSID(fact.challengeSID) else { return false }
        let (id, bytes) = (fact.id, fact.kept)
        return try await write(nowMs) { decision in
            guard try decision.rows.hasChallenge(challenge, account: fact.accountSID),
                try decision.rows.countFacts(of: challenge) < StorePolicy.factsPerChallenge,
                try decision.rows.insertFact(bytes, id: id, of: challenge)
            else { return false }
            switch fact {
            case .outcome(let outcome):
                try decision.learn(outcome)
                try decision.alert(about: outcome)
            case .receipt(let receipt): try decision.learn(receipt)
            case .escalation(let escalation): try decision.alert(about: escalation)
            }
            return true
        }
    }

    /// The stored facts of a challenge, at most 400, in no particular order. They omit values that the challenge itself
    /// has.
    public func deliveryFacts(of challenge: ChallengeSID) async throws -> [DeliveryFact] {
        let kept = try await engine.read { try $0.facts(of: challenge, limit: StorePolicy.factsPerChallenge) }
        return try kept.compactMap { id, fact -> DeliveryFact? in
            // An older version stored facts that this version cannot read. The other facts are returned.
            do { return try DeliveryFact(id: id, kept: fact) } catch is RecordFormatError { return nil }
        }
    }

    /// A version text for each challenge, in the given order. It changes with every change of the challenge and its
    /// facts. Nil: the challenge was deleted.
    public func challengeVersions(_ challenges: [ChallengeSID]) async throws -> [String?] {
        guard !challenges.isEmpty else { return [] }
        return try await engine.read { try $0.challengeVersions(challenges) }
    }

    /// Records that a device signed a request. Written at most twice a day, because the time is used with a precision
    /// of days.
    public func noteSigned(by factor: Factor, nowMs: Int64) async throws {
        guard factor.signedAtMs <= nowMs - StorePolicy.signedResolutionMs else { return }
        try requireWritable()
        try await write(nowMs) { try $0.rows.noteSigned(factor.sid, nowMs: nowMs) }
    }
}

extension DeliveryFact {
    /// The id of the fact. It follows from the record, so a record that is read again changes nothing. The receipts of
    /// one channel count once per device.
    var id: String {
        switch self {
        case .outcome(let outcome):
            "o \(outcome.factorSid) \(outcome.dispatchID.prefix(40)) \(outcome.kind.rawValue) \(outcome.disposition.rawValue)"
        case .receipt(let receipt): "r \(receipt.factorSid) \(receipt.channel.rawValue) \(receipt.shown.rawValue)"
        case .escalation: "e"
        }
    }

    /// The contents of the row, without values that the challenge itself has, and with shortened texts.
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
            kept.pushOnce = outcome.pushOnce
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
