public import ChallengeModel
import Crypto
import Foundation
import GRDB
import Wire

extension SQLiteChallengeStore {
    public func create(_ new: NewChallenge, nowMs: Int64) async throws -> ChallengeCreation {
        let sid = ChallengeSID.generate(variant: 0x03, nowMs: nowMs)
        // A limit's refusal is counted and told: it is committed.
        let result: Result<ChallengeCreation, StoreError> = try await write { database in
            try self.create(new, as: sid, in: database, nowMs: nowMs)
        }
        return try result.get()
    }

    private func create(
        _ new: NewChallenge, as sid: ChallengeSID, in database: Database, nowMs: Int64
    ) throws -> Result<ChallengeCreation, StoreError> {
        guard let service = try database.service(new.service, account: new.account) else {
            throw StoreError.notFound(.service)
        }
        if let known = try database.challenge(madeFor: new, nowMs: nowMs) {
            return .success(ChallengeCreation(challenge: known, outcome: .repeated))
        }
        if let known = try database.challenge(madeWith: new.idempotency, nowMs: nowMs) {
            return .success(ChallengeCreation(challenge: known, outcome: .replayed))
        }
        guard new.requestID == nil || new.expiresAtMs > nowMs else { throw StoreError.alreadyExpired }
        guard let entity = try database.entity(account: new.account, service: new.service, identity: new.identity)
        else { throw StoreError.notFound(.entity) }
        let policy = service.policy
        guard new.factor != nil || policy.isFanOutAllowed else { throw StoreError.factorRequired }
        let rules = try ApprovalRules(new, under: policy)
        let fallbacks = new.fallbacks.isEmpty ? policy.fallbacks : new.fallbacks
        let factors = try database.resolveTargets(of: entity.sid, named: new.factor, fallbacks: fallbacks)
        let former = try database.pendingChallenge(ofAction: new.actionKey, entity: entity.sid)
        // One that a device of now was not asked by, because it came or was replaced since, stands for nothing.
        if let former, former.challenge.stands(for: new, under: rules, nowMs: nowMs),
            try factors.allSatisfy({ try database.isTarget($0.sid, of: former.challenge.sid) })
        {
            let challenge = try database.pushAgain(former, service: service, limits: limits, nowMs: nowMs)
            try database.remember(new.idempotency, made: challenge.sid, nowMs: nowMs)
            if let requestID = new.requestID {
                try database.remember(
                    requestID, account: new.account, service: new.service.rawValue, made: challenge.sid, nowMs: nowMs)
                // Over Kafka nothing else tells the backend which challenge stands for its request.
                try database.emit(
                    .challengeCreated, challenge,
                    ["request_id": .string(requestID)].merging(challenge.quiet(nowMs)) { $1 },
                    id: "\(new.account)/\(new.service)/\(requestID)/\(EventType.challengeCreated.rawValue)",
                    traceparent: new.traceparent, nowMs: nowMs)
            }
            return .success(ChallengeCreation(challenge: challenge, outcome: .reused))
        }
        let isFormerLive = former.map { $0.challenge.expiresAtMs > nowMs } ?? false
        let admission = try database.admit(
            entity, isReplacing: isFormerLive, limits: limits, fallbacks: fallbacks, nowMs: nowMs)
        guard case .admitted(let allowance, let quietUntilMs) = admission else {
            guard case .refused(let refusal) = admission else { throw StoreError.failed("no admission") }
            return .failure(.limited(refusal))
        }
        if let former { try database.close(former, isFormerLive ? .supersede : .expire, nowMs: nowMs) }
        var challenge = Challenge(
            sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
            factor: new.factor, message: new.message, fields: new.fields, hiddenDetails: new.hiddenDetails,
            includesDate: service.includeDate, expiresAtMs: new.expiresAtMs, createdAtMs: nowMs, updatedAtMs: nowMs,
            respondedAtMs: nil, status: .pending, responder: nil, signedAnswer: nil, metadata: nil,
            fallbacks: fallbacks, redelivery: policy.redelivery(over: new.redelivery), requestID: new.requestID,
            notifications: 0)
        if let actionKey = new.actionKey {
            challenge.actionKey = actionKey
            challenge.actionID = isFormerLive ? former?.challenge.actionID : Self.newActionID()
        }
        challenge.numberDigits = rules.numberDigits
        if rules.numberDigits > 0 {
            let number = try newNumber(digits: rules.numberDigits, account: new.account, challenge: sid)
            try database.noteSealing(number.keyID, proof: keyProof)
            challenge.sealedNumber = number
        }
        challenge.requiresSession = rules.requiresSession
        challenge.quietUntilMs = quietUntilMs
        try database.insert(challenge, traceparent: new.traceparent)
        try database.remember(new.idempotency, made: sid, nowMs: nowMs)
        try database.address(challenge, to: factors, of: service, entity: entity, traceparent: new.traceparent)
        return .success(ChallengeCreation(challenge: challenge, outcome: .created, allowance: allowance))
    }

    /// 22 characters that say nothing.
    private static func newActionID() -> String {
        SymmetricKey(size: .bits128).withUnsafeBytes { Base64URL.encode($0) }
    }

    public func challenge(
        _ sid: ChallengeSID, account: AccountSID, service: ServiceSID, identity: String, factor: FactorSID?
    ) async throws -> Challenge? {
        try await read { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return nil
            }
            guard let challenge = try database.challenge(sid)?.challenge, challenge.entity == entity.sid else {
                return nil
            }
            if let factor, try !database.isTarget(factor, of: sid) { return nil }
            return challenge
        }
    }

    public func challenge(_ sid: ChallengeSID) async throws -> Challenge? {
        try await read { database in try database.challenge(sid)?.challenge }
    }

    public func challenges(
        _ filter: ChallengeFilter, page request: PageRequest, nowMs: Int64
    ) async throws -> Page<Challenge> {
        try await read { database in
            guard
                let entity = try database.entity(
                    account: filter.account, service: filter.service, identity: filter.identity)
            else { return Page(items: [], next: nil) }
            // A phone polls for what is pending: that index holds the live ones only, however long the history is.
            let index = filter.status == .pending ? "challenges_live" : "challenges_by_entity"
            var sql = "SELECT \(Challenge.columns) FROM challenges c INDEXED BY \(index) WHERE c.entity_sid = ?"
            var arguments: Arguments = [entity.sid.rawValue]
            switch filter.status {
            case nil: break
            case .pending:
                sql += " AND c.status = 'pending' AND c.expires_ms > ?"
                arguments += [nowMs]
            case .expired:
                // As it reads: canceled and superseded ones say `expired` on the wire too.
                sql += """
                     AND (c.status IN ('expired', 'canceled', 'superseded') \
                    OR c.status = 'pending' AND c.expires_ms <= ?)
                    """
                arguments += [nowMs]
            case .some(let status):
                sql += " AND c.status = ?"
                arguments += [status.rawValue]
            }
            if let factor = filter.factor {
                sql +=
                    " AND EXISTS (SELECT 1 FROM challenge_targets t WHERE t.challenge_sid = c.sid AND t.factor_sid = ?)"
                arguments += [factor.rawValue]
            }
            if let after = request.after {
                sql += filter.descending ? " AND c.sid < ?" : " AND c.sid > ?"
                arguments += [after]
            }
            sql += " ORDER BY c.sid \(filter.descending ? "DESC" : "ASC") LIMIT ?"
            arguments += [request.clampedSize + 1]
            return try page(database.rows(sql, arguments), request, cursor: \.sid.rawValue) {
                try Challenge.read($0).challenge
            }
        }
    }
}

extension Challenge {
    /// What its event says when nothing rings. Over Kafka nothing else tells.
    fileprivate func quiet(_ nowMs: Int64) -> [String: EventValue] {
        guard let quietUntilMs, quietUntilMs > nowMs else { return [:] }
        return ["quiet_until": .string(Timestamp.rfc3339Seconds(quietUntilMs))]
    }
}

extension Database {
    /// Writes a new challenge's targets, dispatch and event.
    fileprivate func address(
        _ challenge: Challenge, to factors: [Factor], of service: Service, entity: Entity, traceparent: String?
    ) throws {
        let nowMs = challenge.createdAtMs
        let isPushed = challenge.quietUntilMs == nil
        var targets: [DispatchTarget] = []
        for factor in factors {
            let budget =
                isPushed ? try grantBackgroundPushes(to: factor, challenge: challenge.sid, nowMs: nowMs) : 0
            try run(
                "INSERT INTO challenge_targets (challenge_sid, factor_sid, background_budget) VALUES (?, ?, ?)",
                [challenge.sid.rawValue, factor.sid.rawValue, budget])
            targets.append(factor.dispatchTarget(of: service, backgroundBudget: budget))
        }
        if let requestID = challenge.requestID {
            try remember(
                requestID, account: challenge.account, service: challenge.service.rawValue, made: challenge.sid,
                nowMs: nowMs)
        }
        if isPushed { try dispatch(challenge, .creation, to: targets, traceparent: traceparent, nowMs: nowMs) }
        try emit(
            .challengeCreated, challenge,
            [
                "factor_sids": .list(factors.map { .string($0.sid.rawValue) }),
                "expiration_date": .string(Timestamp.rfc3339Seconds(challenge.expiresAtMs)),
            ].merging(challenge.quiet(nowMs)) { $1 }, traceparent: traceparent, nowMs: nowMs)
        if let quietUntilMs = challenge.quietUntilMs {
            try emitLimit(
                .quiet, of: entity, id: challenge.sid.rawValue, challenge: challenge.sid,
                fallbacks: challenge.fallbacks, untilMs: quietUntilMs, nowMs: nowMs)
        }
    }

    /// What the request id made within its life; nil: it is free, or there is none.
    /// - Throws: `requestClosed`.
    func challenge(madeFor new: NewChallenge, nowMs: Int64) throws -> Challenge? {
        guard let requestID = new.requestID else { return nil }
        let result = try result(
            ofRequest: requestID, account: new.account, service: new.service.rawValue, nowMs: nowMs)
        switch result {
        case nil: return nil
        case .challenge(let sid):
            guard let challenge = try challenge(sid)?.challenge else { throw StoreError.requestClosed }
            return challenge
        case .rejected: throw StoreError.requestClosed
        }
    }

    func isTarget(_ factor: FactorSID, of challenge: ChallengeSID) throws -> Bool {
        try exists(
            "SELECT 1 FROM challenge_targets WHERE challenge_sid = ? AND factor_sid = ?",
            [challenge.rawValue, factor.rawValue])
    }

    /// One push of a challenge, on its way to `challenges`.
    /// - Parameter pushExpiresAtMs: the end of this push, when it is not the challenge's.
    func dispatch(
        _ challenge: Challenge, _ id: DispatchID, to targets: [DispatchTarget], pushExpiresAtMs: Int64? = nil,
        traceparent: String?, nowMs: Int64
    ) throws {
        var dispatch = ChallengeDispatch()
        dispatch.accountSid = challenge.account.rawValue
        dispatch.serviceSid = challenge.service.rawValue
        dispatch.challengeSid = challenge.sid.rawValue
        dispatch.entitySid = challenge.entity.rawValue
        dispatch.identity = challenge.identity
        dispatch.dispatchID = id.description
        dispatch.message = challenge.message
        dispatch.createdAtMs = challenge.createdAtMs
        dispatch.expiresAtMs = challenge.expiresAtMs
        dispatch.pushExpiresAtMs = pushExpiresAtMs ?? 0
        dispatch.targets = targets
        dispatch.redelivery = challenge.redelivery
        dispatch.fallbacks = challenge.fallbacks
        dispatch.backgroundAllowed = targets.contains { $0.backgroundBudget > 0 }
        var record = ChallengeRecord()
        record.kind = .dispatch(dispatch)
        try enqueue(
            .challenges, key: challenge.sid.rawValue, value: record.protobufBytes(),
            expiresAtMs: challenge.expiresAtMs, traceparent: traceparent, nowMs: nowMs)
    }

    /// An event of a challenge: enough for a webhook, nothing of its details.
    func emit(
        _ type: EventType, _ challenge: Challenge, _ more: [String: EventValue] = [:], id: String? = nil,
        traceparent: String?, nowMs: Int64
    ) throws {
        var data: [String: EventValue] = [
            "account_sid": .string(challenge.account.rawValue), "service_sid": .string(challenge.service.rawValue),
            "entity_sid": .string(challenge.entity.rawValue), "entity_identity": .string(challenge.identity),
            "challenge_sid": .string(challenge.sid.rawValue), "factor_type": .string(challenge.factorType),
            "status": .string(challenge.status.rawValue),
        ]
        if let factor = challenge.responder ?? challenge.factor { data["factor_sid"] = .string(factor.rawValue) }
        if let requestID = challenge.requestID { data["request_id"] = .string(requestID) }
        try emit(
            type, account: challenge.account, service: challenge.service.rawValue, subject: challenge.sid.rawValue,
            id: id, data: data.merging(more) { $1 }, traceparent: traceparent, nowMs: nowMs)
    }
}
