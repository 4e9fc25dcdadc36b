import ChallengeModel
import Crypto
import Foundation
import GRDB
import Wire

/// What an approval of a challenge needs beside its signature.
struct ApprovalRules: Sendable, Hashable {
    /// 0: no number.
    let numberDigits: Int
    let requiresSession: Bool

    /// The service's rules, tightened by what the challenge asks for.
    /// - Throws: `loosened`.
    init(_ new: NewChallenge, under policy: ServicePolicy) throws(StoreError) {
        guard !policy.requiresNumber || new.requiresNumber != false else { throw .loosened(.number) }
        guard new.numberDigits ?? Int.max >= policy.numberDigits else { throw .loosened(.numberDigits) }
        guard !policy.requiresSession || new.requiresSession != false else { throw .loosened(.session) }
        let needsNumber = policy.requiresNumber || new.requiresNumber == true
        numberDigits = needsNumber ? new.numberDigits ?? policy.numberDigits : 0
        requiresSession = policy.requiresSession || new.requiresSession == true
    }
}

extension SQLiteChallengeStore {
    public func number(of challenge: Challenge) throws -> String? {
        guard let number = challenge.sealedNumber else { return nil }
        let bytes = try openAtRest(
            Data(number.sealed), keyID: number.keyID, Self.numberContext(challenge.account, challenge.sid))
        return String(decoding: bytes, as: UTF8.self)
    }

    /// So many random digits, sealed.
    func newNumber(digits: Int, account: AccountSID, challenge: ChallengeSID) throws -> SealedNumber {
        let number = (0..<digits).map { _ in String(Int.random(in: 0...9)) }.joined()
        let (keyID, sealed) = try sealAtRest(Array(number.utf8), Self.numberContext(account, challenge))
        return SealedNumber(keyID: keyID, sealed: [UInt8](sealed))
    }

    private static func numberContext(_ account: AccountSID, _ challenge: ChallengeSID) -> [String] {
        [account.rawValue, challenge.rawValue, "number"]
    }

    /// Whether an approval that is rightly signed counts. What it uses up and what it counts is to be committed also when it does not.
    /// - Returns: nil: it does.
    func refusal(
        of answer: Answer, to stored: StoredChallenge, in database: Database, nowMs: Int64
    ) throws -> ApprovalRefusal? {
        let challenge = stored.challenge
        // The session first: who has none learns nothing about numbers.
        if challenge.requiresSession {
            guard let token = answer.sessionToken else { return .sessionMissing }
            guard try database.useSessionToken(token, for: challenge, by: answer.factor, nowMs: nowMs) else {
                return .sessionWrong
            }
        }
        guard challenge.numberDigits > 0 else { return nil }
        guard let typed = answer.number else { return .numberMissing }
        var guesses = try database.guesses(of: answer.factor, entity: challenge.entity)
        if let untilMs = guesses.closedUntilMs(limits, nowMs: nowMs) {
            try database.tellLimit(
                .numbers, of: challenge.entity, fallbacks: challenge.fallbacks, untilMs: untilMs, nowMs: nowMs)
            return .numbersClosed(untilMs: untilMs)
        }
        guard let number = try number(of: challenge) else {
            throw StoreError.failed("a challenge has lost its number")
        }
        if HMACComparison.equal(Array(number.utf8), Array(typed.utf8)) { return nil }
        // The same request again, because its reply was lost, is the same try.
        if !ChangeContext.current.isRepeated {
            try database.run(
                "UPDATE challenges SET wrong_numbers = wrong_numbers + 1 WHERE sid = ?", [challenge.sid.rawValue])
            guesses.add(limits, nowMs: nowMs)
            try database.keep(guesses, of: answer.factor, entity: challenge.entity)
        }
        let wrong = try database.integer(
            "SELECT wrong_numbers FROM challenges WHERE sid = ?", [challenge.sid.rawValue])
        guard wrong >= StorePolicy.numberTries else { return .numberWrong(left: StorePolicy.numberTries - Int(wrong)) }
        // The signature says approved: it is no evidence of what became of the challenge, and is not kept.
        try database.close(
            stored, .deny,
            by: Answer(
                challenge: challenge.sid, factor: answer.factor, isApproval: false, signedAnswer: "",
                metadata: answer.metadata), reason: "wrong_number", nowMs: nowMs)
        try database.countDenial(of: challenge, limits: limits, nowMs: nowMs)
        return .numberWrongDenied
    }

    public func createSessionToken(_ new: NewSessionToken, nowMs: Int64) async throws -> String {
        let secret = SymmetricKey(size: .bits256).withUnsafeBytes { Base64URL.encode($0) }
        try await write { database in
            guard
                let entity = try database.entity(
                    account: new.account, service: new.service, identity: new.identity)
            else { throw StoreError.notFound(.entity) }
            if let factor = new.factor {
                guard
                    try database.exists(
                        "SELECT 1 FROM factors WHERE sid = ? AND entity_sid = ?",
                        [factor.rawValue, entity.sid.rawValue])
                else { throw StoreError.notFound(.factor) }
            }
            try database.run(
                """
                INSERT INTO session_tokens (secret_hash, account_sid, service_sid, entity_sid, factor_sid, expires_ms) \
                VALUES (?, ?, ?, ?, ?, ?)
                """,
                [
                    Self.hash(secret), entity.account.rawValue, entity.service.rawValue, entity.sid.rawValue,
                    new.factor?.rawValue, nowMs + Int64(new.ttlSeconds) * 1000,
                ])
            try database.audit(
                "session_token.created", account: entity.account, subject: entity.sid.rawValue, isTraffic: true,
                nowMs: nowMs)
        }
        return secret
    }
}

/// What was guessed by a factor, and by all factors of its identity.
private struct Guesses {
    var factor: NumberGuesses
    var identity: NumberGuesses

    func closedUntilMs(_ limits: ChallengeLimits, nowMs: Int64) -> Int64? {
        [
            factor.closedUntilMs(limit: limits.factorGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs),
            identity.closedUntilMs(limit: limits.identityGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs),
        ].compactMap(\.self).max()
    }

    mutating func add(_ limits: ChallengeLimits, nowMs: Int64) {
        factor.add(limit: limits.factorGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs)
        identity.add(limit: limits.identityGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs)
    }
}

extension Database {
    fileprivate func guesses(of factor: FactorSID, entity: EntitySID) throws -> Guesses {
        Guesses(
            factor: NumberGuesses(
                try texts("SELECT wrong_numbers FROM factors WHERE sid = ?", [factor.rawValue]).first ?? ""),
            identity: NumberGuesses(
                try texts("SELECT wrong_numbers FROM entities WHERE sid = ?", [entity.rawValue]).first ?? ""))
    }

    fileprivate func keep(_ guesses: Guesses, of factor: FactorSID, entity: EntitySID) throws {
        try run("UPDATE factors SET wrong_numbers = ? WHERE sid = ?", [guesses.factor.text, factor.rawValue])
        try run("UPDATE entities SET wrong_numbers = ? WHERE sid = ?", [guesses.identity.text, entity.rawValue])
    }

    /// Binds a token to the one challenge that it is good for.
    /// - Returns: false for a token that is unknown, over, another person's or device's, or was used for another challenge.
    fileprivate func useSessionToken(
        _ token: String, for challenge: Challenge, by factor: FactorSID, nowMs: Int64
    ) throws -> Bool {
        try changes(
            """
            UPDATE session_tokens SET challenge_sid = ? WHERE secret_hash = ? AND account_sid = ? AND service_sid = ? \
            AND entity_sid = ? AND (factor_sid IS NULL OR factor_sid = ?) \
            AND (challenge_sid IS NULL OR challenge_sid = ?) AND expires_ms > ?
            """,
            [
                challenge.sid.rawValue, SQLiteChallengeStore.hash(token), challenge.account.rawValue,
                challenge.service.rawValue, challenge.entity.rawValue, factor.rawValue, challenge.sid.rawValue, nowMs,
            ])
    }
}
