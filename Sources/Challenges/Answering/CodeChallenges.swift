public import ChallengeModel
import Wire

extension ChallengeStore {
    /// - Parameter code: when not nil, it is checked at once. A wrong code leaves the challenge pending and counts as a
    ///   try.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `limit(.challengeCreations)`, `idempotencyConflict`;
    ///   `repeated` when its idempotency key has already created a challenge.
    public func createCodeChallenge(_ new: NewChallenge, code: String?, nowMs: Int64) async throws -> Challenge {
        let sid = ChallengeSID.generate(variant: ChallengeSID.variant, nowMs: nowMs)
        return try await write(nowMs) { try $0.createCodeChallenge(new, as: sid, code: code) }
    }

    /// - Throws: `codeRefused`, `limit(.challengeAttempts)` after 5 wrong ones, `alreadyResponded`, `alreadyExpired`,
    ///   `notFound(.challenge)`, `notFound(.factor)` when its factor was deleted.
    public func answerCodeChallenge(
        _ sid: ChallengeSID, code: String, metadata: String?, nowMs: Int64
    ) async throws -> Challenge {
        // A wrong code is counted, so the transaction of the refusal must be committed.
        let result: Result<Challenge, StoreError> = try await write(nowMs) {
            try $0.answerCodeChallenge(sid, code: code, metadata: metadata)
        }
        return try result.get()
    }
}

extension ChallengeStore {
    /// Approves a challenge that was pushed with a one-time code of the person's newest verified code factor: the
    /// built-in fall-back. The challenge must name `totp` among its fall-backs, and need neither a number nor a
    /// session.
    /// - Throws: `codeRefused`, also for a challenge that no code may approve; `limit(.factorAttempts)` after 5 wrong
    ///   codes in a row over all challenges; `noCodeFactor`, `alreadyResponded`, `alreadyExpired`,
    ///   `notFound(.challenge)`.
    public func answerWithCode(
        _ sid: ChallengeSID, code: String, metadata: String?, nowMs: Int64
    ) async throws -> Challenge {
        // A wrong code is counted, so the transaction of the refusal must be committed.
        let result: Result<Challenge, StoreError> = try await write(nowMs) {
            try $0.answerWithCode(sid, code: code, metadata: metadata)
        }
        return try result.get()
    }
}

extension Challenge {
    /// Whether the challenge names the fall-back that Beckon itself checks.
    public var hasCodeFallback: Bool { !isCodeChallenge && fallbacks.contains("totp") }

    /// Whether a one-time code may approve the challenge instead of a device. A code proves neither the number nor a
    /// session.
    public var allowsCode: Bool { hasCodeFallback && numberDigits == 0 && !requiresSession }
}

extension Decision {
    func answerWithCode(
        _ sid: ChallengeSID, code: String, metadata: String?
    ) throws -> Result<Challenge, StoreError> {
        _ = try rows.lockedPerson(ofChallenge: sid)
        guard let stored = try rows.challenge(sid) else { throw StoreError.notFound(.challenge) }
        guard stored.challenge.allowsCode else { throw StoreError.codeRefused }
        try stored.challenge.requireOpen(nowMs: nowMs)
        let factors = try rows.codeFactors(of: stored.challenge.entity).filter(\.isVerified)
        guard let factor = factors.max(by: { $0.sid < $1.sid }), let secret = try rows.codeSecret(of: factor.sid) else {
            throw StoreError.noCodeFactor
        }
        // Of the factor and not of the challenge: each new challenge would allow as many guesses again.
        guard secret.attempts < StorePolicy.codeAttempts else { return .failure(.limit(.factorAttempts)) }
        guard try use(code, of: factor) else {
            try rows.setAttempts(secret.attempts + 1, ofCodeFactor: factor.sid)
            return .failure(.codeRefused)
        }
        try rows.setAttempts(0, ofCodeFactor: factor.sid)
        return .success(
            try close(
                stored, .approve,
                by: Answer(
                    challenge: sid, factor: factor.sid, isApproval: true, signedAnswer: "", metadata: metadata)))
    }

    func createCodeChallenge(_ new: NewChallenge, as sid: ChallengeSID, code: String?) throws -> Challenge {
        if let key = new.idempotency { try rows.lock(key) }
        let person = try rows.lockedPerson(account: new.account, service: new.service, identity: new.identity)
        guard let service = try rows.service(new.service, account: new.account) else {
            throw StoreError.notFound(.service)
        }
        guard let entity = person?.entity else { throw StoreError.notFound(.entity) }
        guard let named = new.factor, let factor = try rows.codeFactor(named), factor.entity == entity.sid else {
            throw StoreError.notFound(.factor)
        }
        guard factor.isVerified else { throw StoreError.factorUnverified }
        if let key = new.idempotency, try challenge(madeWith: key) != nil { throw StoreError.repeated }
        try countCodeChallenge(sid, of: factor)
        let challenge = Challenge(
            sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
            factor: factor.sid, message: new.message, fields: new.fields, hiddenDetails: new.hiddenDetails,
            includesDate: service.includeDate, expiresAtMs: new.expiresAtMs, createdAtMs: nowMs, updatedAtMs: nowMs,
            respondedAtMs: nil, status: .pending, responder: nil, signedAnswer: nil, metadata: nil, fallbacks: [],
            redelivery: StorePolicy.completed(new.redelivery), requestID: nil, notifications: 0)
        try rows.insert(challenge, traceparent: new.traceparent)
        if let key = new.idempotency { try rows.remember(key, made: sid, nowMs: nowMs) }
        // Lists are filtered by this target. Nothing is pushed to it.
        try rows.insertTarget(factor.sid, of: sid, backgroundBudget: 0)
        try emit(
            .challengeCreated, challenge,
            [
                "factor_sids": .list([.string(factor.sid.rawValue)]),
                "expiration_date": .string(Timestamp.rfc3339Seconds(new.expiresAtMs)),
            ], traceparent: new.traceparent)
        guard let code else { return challenge }
        guard try use(code, of: factor) else {
            try rows.countCodeAttempt(of: sid)
            return challenge
        }
        return try close(
            StoredChallenge(challenge: challenge, traceparent: new.traceparent), .approve,
            by: Answer(challenge: sid, factor: factor.sid, isApproval: true, signedAnswer: ""))
    }

    func answerCodeChallenge(
        _ sid: ChallengeSID, code: String, metadata: String?
    ) throws -> Result<Challenge, StoreError> {
        _ = try rows.lockedPerson(ofChallenge: sid)
        guard let stored = try rows.challenge(sid), let named = stored.challenge.factor else {
            throw StoreError.notFound(.challenge)
        }
        try stored.challenge.requireOpen(nowMs: nowMs)
        guard let factor = try rows.codeFactor(named) else { throw StoreError.notFound(.factor) }
        guard try rows.codeAttempts(of: sid) < StorePolicy.codeAttempts else {
            return .failure(.limit(.challengeAttempts))
        }
        guard try use(code, of: factor) else {
            try rows.countCodeAttempt(of: sid)
            return .failure(.codeRefused)
        }
        return .success(
            try close(
                stored, .approve,
                by: Answer(
                    challenge: sid, factor: factor.sid, isApproval: true, signedAnswer: "", metadata: metadata)))
    }

    /// Limits the challenges of a factor in an hour and in a day, because every challenge allows five guesses.
    /// - Throws: `limit(.challengeCreations)`.
    private func countCodeChallenge(_ sid: ChallengeSID, of factor: CodeFactor) throws {
        for (spanMs, limit) in StorePolicy.codeChallengeLimits(codeLength: factor.code.codeLength) {
            guard try rows.countCodeChallenges(of: factor.sid, sinceMs: nowMs - spanMs) < limit else {
                throw StoreError.limit(.challengeCreations)
            }
        }
        try rows.insertCodeChallenge(sid, of: factor.sid, sinceMs: nowMs - StorePolicy.dayMs, nowMs: nowMs)
    }
}
