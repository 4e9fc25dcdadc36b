public import ChallengeModel
import GRDB

extension SQLiteChallengeStore {
    public func recordDelivery(_ fact: DeliveryFact, nowMs: Int64) async throws -> Bool {
        guard let challenge = ChallengeSID(fact.challengeSID) else { return false }
        let (id, bytes) = (fact.id, fact.kept)
        return try await write { [brake] database in
            guard try database.keep(bytes, id: id, of: challenge, account: fact.accountSID) else { return false }
            if case .outcome(let outcome) = fact { try database.learn(outcome, brake: brake, nowMs: nowMs) }
            return true
        }
    }

    public func deliveryFacts(of challenge: ChallengeSID) async throws -> [DeliveryFact] {
        try await read { database in
            try database.rows(
                "SELECT id, fact FROM delivery_facts WHERE challenge_sid = ? LIMIT ?",
                [challenge.rawValue, StorePolicy.factsPerChallenge]
            ).compactMap { row in
                var columns = Columns(row)
                let (id, bytes) = (columns.text(), columns.bytes())
                // An older version kept what this one does not read any more: the others are shown all the same.
                do { return try DeliveryFact(id: id, kept: bytes) } catch is RecordFormatError { return nil }
            }
        }
    }

    public func challengeVersions(_ challenges: [ChallengeSID]) async throws -> [String?] {
        guard !challenges.isEmpty else { return [] }
        return try await read { database in
            try challenges.map { sid in
                let row = try database.row(
                    """
                    SELECT status, updated_ms, notifications, ifnull(quiet_until_ms, 0), \
                    (SELECT count(*) FROM delivery_facts f WHERE f.challenge_sid = c.sid) FROM challenges c WHERE c.sid = ?
                    """, [sid.rawValue])
                return row.map { row in
                    "\(row[0] as String) \(row[1] as Int64) \(row[2] as Int64) \(row[3] as Int64) \(row[4] as Int64)"
                }
            }
        }
    }

    public func noteSigned(by factor: Factor, nowMs: Int64) async throws {
        guard factor.signedAtMs <= nowMs - StorePolicy.signedResolutionMs else { return }
        try requireWritable()
        try await write { database in
            try database.run(
                "UPDATE factors SET signed_ms = ? WHERE sid = ? AND signed_ms < ?",
                [nowMs, factor.sid.rawValue, nowMs])
        }
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

extension Database {
    /// - Returns: false when it is there already, belongs to nothing, or is one too many.
    fileprivate func keep(_ fact: [UInt8], id: String, of challenge: ChallengeSID, account: String) throws -> Bool {
        guard
            try exists(
                "SELECT 1 FROM challenges WHERE sid = ? AND account_sid = ?", [challenge.rawValue, account])
        else { return false }
        let count = try integer("SELECT count(*) FROM delivery_facts WHERE challenge_sid = ?", [challenge.rawValue])
        guard count < StorePolicy.factsPerChallenge else { return false }
        return try changes(
            "INSERT OR IGNORE INTO delivery_facts (challenge_sid, id, fact) VALUES (?, ?, ?)",
            [challenge.rawValue, id, blob(fact)])
    }
}
