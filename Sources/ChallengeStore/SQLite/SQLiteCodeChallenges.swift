public import ChallengeModel
import GRDB
import Wire

extension SQLiteChallengeStore {
    public func createCodeChallenge(_ new: NewChallenge, code: String?, nowMs: Int64) async throws -> Challenge {
        let sid = ChallengeSID.generate(variant: 0x03, nowMs: nowMs)
        return try await write { database in
            guard let service = try database.service(new.service, account: new.account) else {
                throw StoreError.notFound(.service)
            }
            guard
                let entity = try database.entity(account: new.account, service: new.service, identity: new.identity)
            else { throw StoreError.notFound(.entity) }
            guard let named = new.factor, let factor = try database.codeFactor(named), factor.entity == entity.sid
            else {
                throw StoreError.notFound(.factor)
            }
            guard factor.isVerified else { throw StoreError.factorUnverified }
            guard try database.challenge(madeWith: new.idempotency, nowMs: nowMs) == nil else {
                throw StoreError.repeated
            }
            try database.countCodeChallenge(sid, of: factor, nowMs: nowMs)
            let challenge = Challenge(
                sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
                factor: factor.sid, message: new.message, fields: new.fields, hiddenDetails: new.hiddenDetails,
                includesDate: service.includeDate, expiresAtMs: new.expiresAtMs, createdAtMs: nowMs, updatedAtMs: nowMs,
                respondedAtMs: nil, status: .pending, responder: nil, signedAnswer: nil, metadata: nil, fallbacks: [],
                redelivery: StorePolicy.completed(new.redelivery), requestID: nil, notifications: 0)
            try database.insert(challenge, traceparent: new.traceparent)
            try database.remember(new.idempotency, made: sid, nowMs: nowMs)
            // What lists are filtered by. Nothing is pushed to it.
            try database.run(
                "INSERT INTO challenge_targets (challenge_sid, factor_sid, background_budget) VALUES (?, ?, 0)",
                [sid.rawValue, factor.sid.rawValue])
            try database.emit(
                .challengeCreated, challenge,
                [
                    "factor_sids": .list([.string(factor.sid.rawValue)]),
                    "expiration_date": .string(Timestamp.rfc3339Seconds(new.expiresAtMs)),
                ], traceparent: new.traceparent, nowMs: nowMs)
            guard let code else { return challenge }
            guard try self.use(code, of: factor, in: database, nowMs: nowMs) else {
                try database.countCodeAttempt(of: sid)
                return challenge
            }
            return try database.close(
                StoredChallenge(challenge: challenge, traceparent: new.traceparent), .approve,
                by: Answer(challenge: sid, factor: factor.sid, isApproval: true, signedAnswer: ""), nowMs: nowMs)
        }
    }

    public func answerCodeChallenge(
        _ sid: ChallengeSID, code: String, metadata: String?, nowMs: Int64
    ) async throws -> Challenge {
        // As for factors: a wrong code is counted.
        let result: Result<Challenge, StoreError> = try await write { database in
            guard let stored = try database.challenge(sid), let named = stored.challenge.factor else {
                throw StoreError.notFound(.challenge)
            }
            switch ChallengeLifecycle.decide(
                .approve, status: stored.challenge.status, expiresAtMs: stored.challenge.expiresAtMs, nowMs: nowMs)
            {
            case .alreadyResponded: throw StoreError.alreadyResponded
            case .alreadyExpired, .unchanged: throw StoreError.alreadyExpired
            case .become: break
            }
            guard let factor = try database.codeFactor(named) else { throw StoreError.notFound(.factor) }
            let attempts = try database.integer(
                "SELECT attempts FROM code_attempts WHERE challenge_sid = ?", [sid.rawValue])
            guard attempts < StorePolicy.codeAttempts else { return .failure(.limit(.challengeAttempts)) }
            guard try self.use(code, of: factor, in: database, nowMs: nowMs) else {
                try database.countCodeAttempt(of: sid)
                return .failure(.codeRefused)
            }
            return .success(
                try database.close(
                    stored, .approve,
                    by: Answer(
                        challenge: sid, factor: factor.sid, isApproval: true, signedAnswer: "", metadata: metadata),
                    nowMs: nowMs))
        }
        return try result.get()
    }
}

extension Database {
    fileprivate func countCodeAttempt(of challenge: ChallengeSID) throws {
        try run(
            """
            INSERT INTO code_attempts (challenge_sid, attempts) VALUES (?, 1) \
            ON CONFLICT (challenge_sid) DO UPDATE SET attempts = attempts + 1
            """, [challenge.rawValue])
    }

    /// Every challenge is five guesses: so many may be made in an hour and in a day.
    /// - Throws: `limit(.challengeCreations)`.
    fileprivate func countCodeChallenge(_ sid: ChallengeSID, of factor: CodeFactor, nowMs: Int64) throws {
        try run(
            "DELETE FROM code_creations WHERE factor_sid = ? AND created_ms <= ?",
            [factor.sid.rawValue, nowMs - StorePolicy.dayMs])
        for (spanMs, limit) in StorePolicy.codeChallengeLimits(codeLength: factor.code.codeLength) {
            let made = try integer(
                "SELECT count(*) FROM code_creations WHERE factor_sid = ? AND created_ms > ?",
                [factor.sid.rawValue, nowMs - spanMs])
            guard made < limit else { throw StoreError.limit(.challengeCreations) }
        }
        try run(
            "INSERT INTO code_creations (factor_sid, created_ms, challenge_sid) VALUES (?, ?, ?)",
            [factor.sid.rawValue, nowMs, sid.rawValue])
    }
}
