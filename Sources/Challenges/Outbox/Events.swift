import ChallengeModel
import Wire

extension Decision {
    /// Enqueues an event for topic `events`.
    /// - Parameters:
    ///   - id: id of an event that can happen more than once to its subject. Default: `<subject>/<type>`.
    ///   - expiresAtMs: the event is of no use after this time.
    func emit(
        _ type: EventType, account: AccountSID, service: String, subject: String, id: String? = nil,
        data: [String: EventValue], expiresAtMs: Int64? = nil, traceparent: String? = nil
    ) throws {
        let event = CloudEvent(
            id: id ?? "\(subject)/\(type.rawValue)", type: type, account: account.rawValue, service: service,
            subject: subject, timeMs: nowMs, sequence: try rows.nextEventSequence(), writer: .producer,
            expiresAtMs: expiresAtMs, traceparent: traceparent, data: data)
        try rows.enqueue(
            OutboxRecord(
                .events, key: subject, value: event.jsonBytes(), contentType: .cloudEvent, traceparent: traceparent),
            nowMs: nowMs)
        try audit(type, account: account, subject: subject)
    }

    /// Enqueues an event of a challenge. It has enough members for a webhook, and none of the challenge's details.
    func emit(
        _ type: EventType, _ challenge: Challenge, _ more: [String: EventValue] = [:], id: String? = nil,
        traceparent: String?
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
            id: id, data: data.merging(more) { $1 },
            expiresAtMs: challenge.status == .pending ? challenge.expiresAtMs : nil,
            traceparent: traceparent)
    }

    /// - Parameter revision: distinguishes events that can happen more than once.
    func emit(
        _ type: EventType, _ factor: AnyFactor, _ more: [String: EventValue] = [:], revision: Int64? = nil
    ) throws {
        let (account, service, entity, identity, isVerified) =
            switch factor {
            case .push(let factor):
                (factor.account, factor.service, factor.entity, factor.identity, factor.isVerified)
            case .code(let factor):
                (factor.account, factor.service, factor.entity, factor.identity, factor.isVerified)
            }
        let data: [String: EventValue] = [
            "account_sid": .string(account.rawValue), "service_sid": .string(service.rawValue),
            "entity_sid": .string(entity.rawValue), "entity_identity": .string(identity),
            "factor_sid": .string(factor.sid.rawValue), "factor_type": .string(factor.type),
            "status": isVerified ? "verified" : "unverified",
        ]
        try emit(
            type, account: account, service: service.rawValue, subject: factor.sid.rawValue,
            id: revision.map { "\(factor.sid)/\(type.rawValue)/\($0)" }, data: data.merging(more) { $1 })
    }

    /// - Parameter challenge: one that is not pushed.
    func emitLimit(
        _ kind: LimitRefusal.Kind, of entity: Entity, id: String, challenge: ChallengeSID? = nil, fallbacks: [String],
        untilMs: Int64
    ) throws {
        var data: [String: EventValue] = [
            "account_sid": .string(entity.account.rawValue), "service_sid": .string(entity.service.rawValue),
            "entity_sid": .string(entity.sid.rawValue), "entity_identity": .string(entity.identity),
            "limit": .string(kind.rawValue), "fallbacks": .list(fallbacks.map { .string($0) }),
            "until": .string(Timestamp.rfc3339Seconds(untilMs)),
        ]
        if let challenge { data["challenge_sid"] = .string(challenge.rawValue) }
        try emit(
            .limitReached, account: entity.account, service: entity.service.rawValue, subject: entity.sid.rawValue,
            id: "\(id)/\(EventType.limitReached.rawValue)", data: data)
    }
}

extension AnyFactor {
    /// The name in the API and in events.
    fileprivate var type: String {
        switch self {
        case .push: "push"
        case .code: "totp"
        }
    }
}
