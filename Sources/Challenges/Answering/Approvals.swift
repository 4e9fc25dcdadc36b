import ChallengeModel
import Crypto
import Foundation
import Wire

/// The requirements of an approval in addition to its signature.
struct ApprovalRules: Sendable, Hashable {
    /// 0: no number.
    let numberDigits: Int
    let requiresSession: Bool

    /// Combines the service's rules with the stricter rules of the challenge.
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

extension ChallengeStore {
    /// The number of a pending challenge, for backends that may create challenges; nil: it has none.
    public func number(of challenge: Challenge) throws -> String? { try rules.number(of: challenge) }

    /// Creates a token that proves that the person is signed in. It is valid for the approval of one challenge.
    /// - Returns: the token, 43 characters of base64url for 256 random bits. The store keeps only its hash.
    /// - Throws: `notFound(.entity)`, `notFound(.factor)`.
    public func createSessionToken(_ new: NewSessionToken, nowMs: Int64) async throws -> String {
        let secret = SymmetricKey(size: .bits256).withUnsafeBytes { Base64URL.encode($0) }
        try await write(nowMs) { try $0.createSessionToken(new, secret: secret) }
        return secret
    }
}

extension StoreRules {
    func number(of challenge: Challenge) throws -> String? {
        guard let number = challenge.sealedNumber else { return nil }
        return String(
            decoding: try open(number, Self.numberContext(challenge.account, challenge.sid)), as: UTF8.self)
    }

    fileprivate static func numberContext(_ account: AccountSID, _ challenge: ChallengeSID) -> [String] {
        SealedPlace.numbers.context(account: account.rawValue, sid: challenge.rawValue)
    }
}

extension Decision {
    /// Creates a number with `digits` random digits, sealed.
    func newNumber(digits: Int, account: AccountSID, challenge: ChallengeSID) throws -> SealedValue {
        let number = (0..<digits).map { _ in String(Int.random(in: 0...9, using: &draws)) }.joined()
        let sealed = try rules.seal(Array(number.utf8), StoreRules.numberContext(account, challenge))
        try noteSealing(sealed)
        return sealed
    }

    /// Decides whether a correctly signed approval counts. Commit the transaction also when it does not, because used
    /// tokens and wrong numbers are counted.
    /// - Parameter person: nil when the person was deleted.
    /// - Returns: the refusal; nil when the approval counts.
    func refusal(
        of answer: Answer, to stored: StoredChallenge, of person: inout Person?
    ) throws -> ApprovalRefusal? {
        let challenge = stored.challenge
        // The session is checked first, so that a caller without a session learns nothing about the number.
        if challenge.requiresSession {
            guard let token = answer.sessionToken else { return .sessionMissing }
            guard try useSessionToken(token, for: challenge, by: answer.factor) else { return .sessionWrong }
        }
        guard challenge.numberDigits > 0 else { return nil }
        guard let typed = answer.number else { return .numberMissing }
        var guesses = Guesses(
            factor: try rows.wrongNumbers(of: answer.factor),
            person: person?.limits.wrongNumbers ?? NumberGuesses(""))
        if let untilMs = guesses.closedUntilMs(rules.limits, nowMs: nowMs) {
            try person.tell { person in
                try tellLimit(.numbers, of: &person, fallbacks: challenge.fallbacks, untilMs: untilMs)
            }
            return .numbersClosed(untilMs: untilMs)
        }
        guard let number = try rules.number(of: challenge) else {
            throw StoreError.failed("a challenge has lost its number")
        }
        if HMACComparison.equal(Array(number.utf8), Array(typed.utf8)) { return nil }
        // A repeated request, whose reply was lost, counts as the same try.
        var wrong = challenge.wrongNumbers
        if !caller.isRepeated {
            wrong = try rows.countWrongNumber(of: challenge.sid)
            guesses.add(rules.limits, nowMs: nowMs)
            try rows.setWrongNumbers(guesses.factor, of: answer.factor)
            try person.tell { person in
                person.limits.wrongNumbers = guesses.person
                try rows.update(person.limits, of: person.entity.sid)
            }
        }
        guard wrong >= StorePolicy.numberTries else { return .numberWrong(left: StorePolicy.numberTries - wrong) }
        // The signed answer says approved, so it is no evidence for this denial and is not stored.
        try close(
            stored, .deny,
            by: Answer(
                challenge: challenge.sid, factor: answer.factor, isApproval: false, signedAnswer: "",
                metadata: answer.metadata), reason: "wrong_number")
        try person.tell { person in try countDenial(of: challenge, by: &person) }
        return .numberWrongDenied
    }

    func createSessionToken(_ new: NewSessionToken, secret: String) throws {
        guard
            let entity = try rows.lockedPerson(
                account: new.account, service: new.service, identity: new.identity)?.entity
        else { throw StoreError.notFound(.entity) }
        if let factor = new.factor, try rows.factor(factor, entity: entity.sid) == nil {
            throw StoreError.notFound(.factor)
        }
        try rows.insertSessionToken(
            Self.hash(secret),
            SessionToken(
                account: entity.account, service: entity.service, entity: entity.sid, factor: new.factor,
                challenge: nil, expiresAtMs: nowMs + Int64(new.ttlSeconds) * 1000))
        try audit("session_token.created", account: entity.account, subject: entity.sid.rawValue, isTraffic: true)
    }

    /// Binds a token to the one challenge that it is used for.
    /// - Returns: false for a token that is unknown or expired, belongs to another person or device, or was used for
    ///   another challenge.
    private func useSessionToken(_ token: String, for challenge: Challenge, by factor: FactorSID) throws -> Bool {
        let hash = Self.hash(token)
        guard let known = try rows.sessionToken(hash), known.account == challenge.account,
            known.service == challenge.service, known.entity == challenge.entity,
            known.factor ?? factor == factor, known.challenge ?? challenge.sid == challenge.sid,
            known.expiresAtMs > nowMs
        else { return false }
        return try rows.bindSessionToken(hash, to: challenge.sid)
    }

    /// The hash under which secrets are stored that only need to be recognised.
    static func hash(_ secret: String) -> [UInt8] { Array(SHA256.hash(data: Data(secret.utf8))) }
}

extension Person? {
    /// Runs `body` unless the person was deleted.
    fileprivate mutating func tell(_ body: (inout Person) throws -> Void) rethrows {
        guard var person = self else { return }
        try body(&person)
        self = person
    }
}

/// The guesses of a factor, and of all factors of its person.
private struct Guesses {
    var factor: NumberGuesses
    var person: NumberGuesses

    func closedUntilMs(_ limits: ChallengeLimits, nowMs: Int64) -> Int64? {
        [
            factor.closedUntilMs(limit: limits.factorGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs),
            person.closedUntilMs(limit: limits.identityGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs),
        ].compactMap(\.self).max()
    }

    mutating func add(_ limits: ChallengeLimits, nowMs: Int64) {
        factor.add(limit: limits.factorGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs)
        person.add(limit: limits.identityGuesses, windowMs: limits.guessWindowMs, nowMs: nowMs)
    }
}
