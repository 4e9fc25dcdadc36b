import ChallengeModel
import Wire

extension ChallengeStore {
    /// Creates a challenge, or returns an earlier one that the request means. One transaction determines the targets,
    /// stores the challenge, writes dispatch `c` and `challenge.created`, counts against the limits and stores the keys
    /// under which repeats are recognised.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `noVerifiedFactor`, `factorRequired`; `loosened` when the
    ///   challenge requires less than the service; `limited`; `idempotencyConflict`; `alreadyExpired` when the request
    ///   id is new and the expiry has passed; `requestClosed` when the request id was rejected, or its challenge was
    ///   deleted.
    public func create(_ new: NewChallenge, nowMs: Int64) async throws -> ChallengeCreation {
        let sid = ChallengeSID.generate(variant: ChallengeSID.variant, nowMs: nowMs)
        // The refusal by a limit is counted and its event is written, so the transaction must be committed.
        let result: Result<ChallengeCreation, StoreError> =
            try await StoreWork.$current.withValue(StoreWork.currentCreation) {
                try await write(nowMs) { try $0.create(new, as: sid) }
            }
        return try result.get()
    }

    /// Like ``create(_:nowMs:)``, without the details of the result.
    public func createChallenge(_ new: NewChallenge, nowMs: Int64) async throws -> (Challenge, isNew: Bool) {
        let creation = try await create(new, nowMs: nowMs)
        return (creation.challenge, creation.outcome == .created)
    }

    /// The challenge that an idempotency key created within its life.
    /// - Throws: `idempotencyConflict` when the key was used for another request.
    public func challenge(madeWith key: IdempotencyKey, nowMs: Int64) async throws -> Challenge? {
        try await read(nowMs) { try $0.challenge(madeWith: key) }
    }
}

extension Decision {
    /// The rules of a creation, in the order of their refusals.
    func create(_ new: NewChallenge, as sid: ChallengeSID) throws -> Result<ChallengeCreation, StoreError> {
        try rows.prefetch {
            if let requestID = new.requestID {
                _ = try? rows.lockRequest(requestID, account: new.account, service: new.service.rawValue)
            }
            if let key = new.idempotency { _ = try? rows.lock(key) }
            _ = try? rows.lockedPerson(account: new.account, service: new.service, identity: new.identity)
            _ = try? rows.service(new.service, account: new.account)
            _ = try? self.challenge(madeFor: new)
            if let key = new.idempotency { _ = try? self.challenge(madeWith: key) }
        }
        // First of all: the same request again, and two requests of one person, are judged one after the other.
        if let requestID = new.requestID {
            try rows.lockRequest(requestID, account: new.account, service: new.service.rawValue)
        }
        if let key = new.idempotency { try rows.lock(key) }
        let locked = try rows.lockedPerson(account: new.account, service: new.service, identity: new.identity)
        guard let service = try rows.service(new.service, account: new.account) else {
            throw StoreError.notFound(.service)
        }
        if let known = try challenge(madeFor: new) {
            return .success(ChallengeCreation(challenge: known, outcome: .repeated))
        }
        if let key = new.idempotency, let known = try challenge(madeWith: key) {
            return .success(ChallengeCreation(challenge: known, outcome: .replayed))
        }
        guard new.requestID == nil || new.expiresAtMs > nowMs else { throw StoreError.alreadyExpired }
        guard var person = locked else { throw StoreError.notFound(.entity) }
        let entity = person.entity
        let policy = service.policy
        guard new.factor != nil || policy.isFanOutAllowed else { throw StoreError.factorRequired }
        let approval = try ApprovalRules(new, under: policy)
        let fallbacks = new.fallbacks.isEmpty ? policy.fallbacks : new.fallbacks
        try rows.prefetch {
            _ = try? targets(of: entity.sid, named: new.factor, fallbacks: fallbacks)
            if let actionKey = new.actionKey { _ = try? rows.pendingChallenge(ofAction: actionKey, entity: entity.sid) }
            _ = try? pendingExpiries(of: entity.sid)
        }
        let factors = try targets(of: entity.sid, named: new.factor, fallbacks: fallbacks)
        let former = try new.actionKey.flatMap { try rows.pendingChallenge(ofAction: $0, entity: entity.sid) }
        // A pending challenge that is not addressed to all current devices of the person is not returned.
        if let former, former.challenge.stands(for: new, under: approval, nowMs: nowMs),
            try factors.allSatisfy({ try rows.isTarget($0.sid, of: former.challenge.sid) })
        {
            return .success(try reuse(former, for: new, of: &person, service: service))
        }
        let isFormerLive = former.map { $0.challenge.expiresAtMs > nowMs } ?? false
        let admission = try admit(&person, isReplacing: isFormerLive, fallbacks: fallbacks)
        guard case .admitted(let allowance, let quietUntilMs) = admission else {
            guard case .refused(let refusal) = admission else { throw StoreError.failed("no admission") }
            return .failure(.limited(refusal))
        }
        if let former { try close(former, isFormerLive ? .supersede : .expire) }
        var challenge = Challenge(
            sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
            factor: new.factor, message: new.message, fields: new.fields, hiddenDetails: new.hiddenDetails,
            includesDate: service.includeDate, expiresAtMs: new.expiresAtMs, createdAtMs: nowMs, updatedAtMs: nowMs,
            respondedAtMs: nil, status: .pending, responder: nil, signedAnswer: nil, metadata: nil,
            fallbacks: fallbacks, redelivery: policy.redelivery(over: new.redelivery), requestID: new.requestID,
            notifications: 0, numberDigits: approval.numberDigits, requiresSession: approval.requiresSession,
            quietUntilMs: quietUntilMs)
        if let actionKey = new.actionKey {
            challenge.actionKey = actionKey
            challenge.actionID = isFormerLive ? former?.challenge.actionID : Base64URL.encode(draws.bytes(16))
        }
        if approval.numberDigits > 0 {
            challenge.sealedNumber = try newNumber(digits: approval.numberDigits, account: new.account, challenge: sid)
        }
        try rows.insert(challenge, traceparent: new.traceparent)
        if let key = new.idempotency { try rows.remember(key, made: sid, nowMs: nowMs) }
        try address(challenge, to: factors, of: service, entity: entity, traceparent: new.traceparent)
        return .success(ChallengeCreation(challenge: challenge, outcome: .created, allowance: allowance))
    }

    /// Returns the live challenge of an action instead of a new one.
    private func reuse(
        _ former: StoredChallenge, for new: NewChallenge, of person: inout Person, service: Service
    ) throws -> ChallengeCreation {
        let challenge = try pushAgain(former, of: &person, service: service)
        if let key = new.idempotency { try rows.remember(key, made: challenge.sid, nowMs: nowMs) }
        if let requestID = new.requestID {
            try rows.remember(
                requestID, account: new.account, service: new.service.rawValue, .challenge(challenge.sid), nowMs: nowMs)
            // Over Kafka, only this event tells the backend which challenge answers its request.
            try emit(
                .challengeCreated, challenge, ["request_id": .string(requestID)].merging(challenge.quiet(nowMs)) { $1 },
                id: "\(new.account)/\(new.service)/\(requestID)/\(EventType.challengeCreated.rawValue)",
                traceparent: new.traceparent)
        }
        return ChallengeCreation(challenge: challenge, outcome: .reused)
    }

    /// Writes a new challenge's targets, dispatch and event.
    private func address(
        _ challenge: Challenge, to factors: [Factor], of service: Service, entity: Entity, traceparent: String?
    ) throws {
        let isPushed = challenge.quietUntilMs == nil
        var targets: [DispatchTarget] = []
        for factor in factors {
            let budget = isPushed ? try grantBackgroundPushes(to: factor, challenge: challenge.sid) : 0
            try rows.insertTarget(factor.sid, of: challenge.sid, backgroundBudget: budget)
            targets.append(
                factor.dispatchTarget(of: service, backgroundBudget: budget, redelivery: challenge.redelivery))
        }
        if let requestID = challenge.requestID {
            try rows.remember(
                requestID, account: challenge.account, service: challenge.service.rawValue, .challenge(challenge.sid),
                nowMs: nowMs)
        }
        if isPushed { try dispatch(challenge, .creation, to: targets, traceparent: traceparent) }
        try emit(
            .challengeCreated, challenge,
            [
                "factor_sids": .list(factors.map { .string($0.sid.rawValue) }),
                "expiration_date": .string(Timestamp.rfc3339Seconds(challenge.expiresAtMs)),
            ].merging(challenge.quiet(nowMs)) { $1 }, traceparent: traceparent)
        if let quietUntilMs = challenge.quietUntilMs {
            try emitLimit(
                .quiet, of: entity, id: challenge.sid.rawValue, challenge: challenge.sid,
                fallbacks: challenge.fallbacks, untilMs: quietUntilMs)
        }
    }

    /// The challenge that the request id created within its life; nil: the id is unused, or the request has none.
    /// - Throws: `requestClosed`.
    private func challenge(madeFor new: NewChallenge) throws -> Challenge? {
        guard let requestID = new.requestID else { return nil }
        switch try requestResult(requestID, account: new.account, service: new.service.rawValue) {
        case nil: return nil
        case .challenge(let sid):
            guard let stored = try rows.challenge(sid) else { throw StoreError.requestClosed }
            return stored.challenge
        case .rejected: throw StoreError.requestClosed
        }
    }

    /// The challenge that a key created within its life; nil: the key is unused.
    /// - Throws: `idempotencyConflict`.
    func challenge(madeWith key: IdempotencyKey) throws -> Challenge? {
        let sinceMs = nowMs - StorePolicy.idempotencyKeyLifeMs
        guard let made = try rows.idempotentRequest(key.key, sinceMs: sinceMs) else { return nil }
        guard made.request == key.request else { throw StoreError.idempotencyConflict }
        return try rows.challenge(made.challenge)?.challenge
    }

    func requestResult(_ requestID: String, account: AccountSID, service: String) throws -> RequestResult? {
        try rows.requestResult(
            requestID, account: account, service: service, sinceMs: nowMs - StorePolicy.requestIDLifeMs)
    }
}

extension Challenge {
    /// The event's members when the challenge is not pushed. Over Kafka, only the event says this.
    fileprivate func quiet(_ nowMs: Int64) -> [String: EventValue] {
        guard let quietUntilMs, quietUntilMs > nowMs else { return [:] }
        return ["quiet_until": .string(Timestamp.rfc3339Seconds(quietUntilMs))]
    }
}
