public import ChallengeModel

extension ChallengeStore {
    /// The one compare-and-set. The winner's transaction writes the `Resolution` and its event.
    /// - Throws: `alreadyResponded`, `alreadyExpired`, `notFound(.challenge)`; `approvalRefused`, and the challenge stays pending, or
    ///   is denied at the third wrong number.
    public func answer(_ answer: Answer, nowMs: Int64) async throws -> Challenge {
        // A wrong number is counted: its refusal is committed.
        let result: Result<Challenge, StoreError> = try await write(nowMs) { try $0.answer(answer) }
        return try result.get()
    }

    /// The backend needs no answer any more. A challenge that was canceled before is returned as it is.
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
    /// The rules of a signed answer, whose signature was checked.
    func answer(_ answer: Answer) throws -> Result<Challenge, StoreError> {
        var person = try rows.lockedPerson(ofChallenge: answer.challenge)
        guard let stored = try rows.challenge(answer.challenge),
            try rows.isTarget(answer.factor, of: answer.challenge)
        else { throw StoreError.notFound(.challenge) }
        // The phone whose reply was lost sends the same bytes again.
        if stored.challenge.responder == answer.factor, stored.challenge.signedAnswer == answer.signedAnswer {
            return .success(stored.challenge)
        }
        // A factor that was deleted while its request was on the way answers nothing any more.
        guard let factor = try rows.factor(answer.factor), factor.isVerified else {
            throw StoreError.notFound(.challenge)
        }
        if answer.isApproval {
            try requireOpen(stored.challenge)
            if let refusal = try refusal(of: answer, to: stored, of: &person) {
                return .failure(.approvalRefused(refusal))
            }
        }
        let closed = try close(stored, answer.isApproval ? .approve : .deny, by: answer, key: factor.publicKey)
        if !answer.isApproval, var person { try countDenial(of: closed, by: &person) }
        return .success(closed)
    }

    /// - Throws: `alreadyResponded`, `alreadyExpired` for what cannot be approved any more.
    func requireOpen(_ challenge: Challenge) throws(StoreError) {
        switch ChallengeLifecycle.decide(
            .approve, status: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: nowMs)
        {
        case .alreadyResponded: throw .alreadyResponded
        case .alreadyExpired, .unchanged: throw .alreadyExpired
        case .become: return
        }
    }

    /// The one compare-and-set from `pending`. Only the transaction that wins it writes the `Resolution` and the event.
    /// - Parameters:
    ///   - key: the public key that the signed answer is good under.
    ///   - reason: of the event.
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
            // A one-time code is no signature and is not kept.
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
