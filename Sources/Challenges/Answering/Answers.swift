public import ChallengeModel

extension ChallengeStore {
    /// Answers a challenge by one compare-and-set. The transaction that wins writes the `Resolution` and the event.
    /// - Throws: `alreadyResponded`, `alreadyExpired`, `notFound(.challenge)`; `approvalRefused`: the challenge stays
    ///   pending, except that the third wrong number denies it.
    public func answer(_ answer: Answer, nowMs: Int64) async throws -> Challenge {
        // A wrong number is counted, so the transaction of the refusal must be committed.
        let result: Result<Challenge, StoreError> = try await write(nowMs) { try $0.answer(answer) }
        return try result.get()
    }

    /// Cancels a challenge because the backend needs no answer any more. A challenge that was already canceled is
    /// returned unchanged.
    /// - Throws: `alreadyResponded`, `alreadyExpired`, `notFound(.challenge)`.
    public func cancelChallenge(_ sid: ChallengeSID, nowMs: Int64) async throws -> Challenge {
        try await write(nowMs) { decision in
            _ = try decision.rows.lockedPerson(ofChallenge: sid)
            guard let stored = try decision.rows.challenge(sid) else { throw StoreError.notFound(.challenge) }
            if stored.challenge.status == .canceled { return stored.challenge }
            return try decision.close(stored, .cancel)
        }
    }
}

extension Decision {
    /// Applies the rules of a signed answer. The caller has checked the signature.
    func answer(_ answer: Answer) throws -> Result<Challenge, StoreError> {
        try rows.prefetch {
            _ = try? rows.lockedPerson(ofChallenge: answer.challenge)
            _ = try? rows.challenge(answer.challenge)
            _ = try? rows.isTarget(answer.factor, of: answer.challenge)
            _ = try? rows.factor(answer.factor)
        }
        var person = try rows.lockedPerson(ofChallenge: answer.challenge)
        guard let stored = try rows.challenge(answer.challenge),
            try rows.isTarget(answer.factor, of: answer.challenge)
        else { throw StoreError.notFound(.challenge) }
        // A phone that did not get the reply sends the same bytes again.
        if stored.challenge.responder == answer.factor, stored.challenge.signedAnswer == answer.signedAnswer {
            return .success(stored.challenge)
        }
        // A factor that was deleted during its request cannot answer.
        guard let factor = try rows.factor(answer.factor), factor.isVerified else {
            throw StoreError.notFound(.challenge)
        }
        if answer.isApproval {
            try stored.challenge.requireOpen(nowMs: nowMs)
            if let refusal = try refusal(of: answer, to: stored, of: &person) {
                return .failure(.approvalRefused(refusal))
            }
        }
        let closed = try close(stored, answer.isApproval ? .approve : .deny, by: answer, key: factor.publicKey)
        if !answer.isApproval, var person { try countDenial(of: closed, by: &person) }
        return .success(closed)
    }

    /// The one compare-and-set from `pending`. Only the transaction that wins it writes the `Resolution` and the event.
    /// - Parameters:
    ///   - key: the public key that verifies the signed answer.
    ///   - reason: the reason in the event.
    /// - Throws: `alreadyResponded`, `alreadyExpired`.
    @discardableResult
    func close(
        _ stored: StoredChallenge, _ command: ChallengeCommand, by answer: Answer? = nil, key: [UInt8]? = nil,
        reason: String? = nil
    ) throws -> Challenge {
        var challenge = stored.challenge
        switch ChallengeLifecycle.decide(
            command, status: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        {
        case .alreadyResponded: throw StoreError.alreadyResponded
        case .alreadyExpired: throw StoreError.alreadyExpired
        case .unchanged: return challenge
        case .become(let status): challenge.status = status
        }
        challenge.updatedAtMs = nowMs
        if let answer {
            challenge.respondedAtMs = nowMs
            challenge.responder = answer.factor
            // A one-time code is not a signature and is not stored.
            challenge.signedAnswer = answer.signedAnswer.isEmpty ? nil : answer.signedAnswer
            challenge.metadata = answer.metadata
            challenge.responderKey = challenge.signedAnswer == nil ? nil : key
        }
        challenge.sealedNumber = nil
        guard try rows.close(challenge, isExpired: command == .expire, nowMs: nowMs) else {
            throw StoreError.alreadyResponded
        }
        try publishResolution(of: challenge, reason: reason, traceparent: stored.traceparent)
        return challenge
    }
}

extension Challenge {
    /// - Throws: `alreadyResponded`, `alreadyExpired` for a challenge that cannot be approved any more.
    package func requireOpen(nowMs: Int64) throws(StoreError) {
        switch ChallengeLifecycle.decide(.approve, status: status, expiresAtMs: expiresAtMs, nowMs: nowMs) {
        case .alreadyResponded: throw .alreadyResponded
        case .alreadyExpired, .unchanged: throw .alreadyExpired
        case .become: return
        }
    }
}
