import ChallengeModel
import GRDB
import Wire

/// What a creation may do.
enum Admission {
    /// - Parameter quietUntilMs: nothing is pushed before; nil: pushes go.
    case admitted(CreationAllowance?, quietUntilMs: Int64?)
    case refused(LimitRefusal)
}

extension Database {
    /// Counts a creation of an identity against its limits.
    ///
    /// Creations are a bucket of `burst` that fills by one each interval, kept as the time at which it will be full again. A refusal
    /// is to be committed: its event is written once a minute.
    /// - Parameter isReplacing: a pending challenge goes in the same transaction.
    func admit(
        _ entity: Entity, isReplacing: Bool, limits: ChallengeLimits, fallbacks: [String], nowMs: Int64
    ) throws -> Admission {
        guard limits != .none else { return .admitted(nil, quietUntilMs: nil) }
        guard
            let row = try row("SELECT creations_ms FROM entities WHERE sid = ?", [entity.sid.rawValue])
        else { throw StoreError.notFound(.entity) }
        let fullAtMs: Int64 = row[0]
        func refuse(_ kind: LimitRefusal.Kind, untilMs: Int64, _ allowance: CreationAllowance?) throws -> Admission {
            try tellLimit(kind, of: entity.sid, fallbacks: fallbacks, untilMs: untilMs, nowMs: nowMs)
            return .refused(
                LimitRefusal(
                    kind: kind, retryAfterSeconds: max(1, Int((untilMs - nowMs + 999) / 1000)), allowance: allowance,
                    fallbacks: fallbacks))
        }
        var allowance: CreationAllowance?
        var nextFullAtMs = fullAtMs
        if limits.burst > 0 {
            let spanMs = Int64(limits.burst) * limits.intervalMs
            // A clock that was set back locks nobody out for longer than an empty bucket does.
            let startMs = min(max(fullAtMs, nowMs), nowMs + spanMs)
            nextFullAtMs = startMs + limits.intervalMs
            func standing(_ fullAtMs: Int64) -> CreationAllowance {
                CreationAllowance(
                    limit: limits.burst, remaining: Int((spanMs - (fullAtMs - nowMs)) / limits.intervalMs),
                    resetSeconds: Int((fullAtMs - nowMs + 999) / 1000))
            }
            guard nextFullAtMs - nowMs <= spanMs else {
                return try refuse(.creations, untilMs: nextFullAtMs - spanMs, standing(startMs))
            }
            allowance = standing(nextFullAtMs)
        }
        if limits.pending > 0 {
            // One-time codes ring nothing. The index holds the pending ones only, and reading stops at the limit.
            let pending = try rows(
                """
                SELECT expires_ms FROM challenges INDEXED BY challenges_live WHERE entity_sid = ? AND status = 'pending' \
                AND expires_ms > ? AND (factor_sid IS NULL OR substr(factor_sid, 1, 4) <> 'YF02') LIMIT ?
                """, [entity.sid.rawValue, nowMs, limits.pending + 1])
            if pending.count - (isReplacing ? 1 : 0) >= limits.pending {
                return try refuse(.pending, untilMs: pending.map { $0[0] as Int64 }.min() ?? nowMs, allowance)
            }
        }
        if limits.burst > 0 {
            try run("UPDATE entities SET creations_ms = ? WHERE sid = ?", [nextFullAtMs, entity.sid.rawValue])
        }
        return .admitted(
            allowance, quietUntilMs: try quietUntilMs(of: entity.sid, limits: limits, nowMs: nowMs))
    }

    /// A person said no. The third time within ten minutes somebody else is asking: nothing is pushed for a while, of what is pending
    /// neither.
    func countDenial(of challenge: Challenge, limits: ChallengeLimits, nowMs: Int64) throws {
        guard limits.denials > 0, !challenge.isCodeChallenge,
            let row = try row(
                "SELECT \(Entity.columns), e.denials FROM entities e WHERE e.sid = ?", [challenge.entity.rawValue])
        else { return }
        let entity = try Entity(row: row)
        let former = (row["denials"] as String).split(separator: ",").compactMap { Int64($0) }
        // Those of a clock that was far ahead are as far away as old ones.
        let recent = (former.filter { abs($0 - nowMs) < limits.denialWindowMs } + [nowMs]).suffix(limits.denials)
        try run(
            "UPDATE entities SET denials = ? WHERE sid = ?",
            [recent.map { String($0) }.joined(separator: ","), entity.sid.rawValue])
        guard recent.count >= limits.denials else { return }
        let untilMs = nowMs + limits.quietMs
        let isQuiet = try quietUntilMs(of: entity.sid, limits: limits, nowMs: nowMs) != nil
        try silenceLiveChallenges(of: entity.sid, untilMs: untilMs, isQuiet: isQuiet, nowMs: nowMs)
        try run("UPDATE entities SET quiet_until_ms = ? WHERE sid = ?", [untilMs, entity.sid.rawValue])
        try emitLimit(
            .quiet, of: entity, id: "\(challenge.sid)/denied", fallbacks: challenge.fallbacks, untilMs: untilMs,
            nowMs: nowMs)
    }

    /// Until when nothing is pushed to the identity; nil: it is not quiet. An end further ahead than any can be is brought near:
    /// the clock was set back, or the setting lowered.
    func quietUntilMs(of entity: EntitySID, limits: ChallengeLimits, nowMs: Int64) throws -> Int64? {
        guard limits.denials > 0 else { return nil }
        let untilMs = try integer("SELECT quiet_until_ms FROM entities WHERE sid = ?", [entity.rawValue])
        guard untilMs > nowMs else { return nil }
        let latestMs = nowMs + limits.quietMs
        guard untilMs > latestMs else { return untilMs }
        try run("UPDATE entities SET quiet_until_ms = ? WHERE sid = ?", [latestMs, entity.rawValue])
        return latestMs
    }

    /// The refusal to push a challenge again while its identity is quiet; it is told. What is counted are denials, and none is left.
    func refuseResend(
        of challenge: Challenge, quietUntilMs: Int64, limits: ChallengeLimits, nowMs: Int64
    ) throws -> LimitRefusal {
        try tellLimit(
            .quiet, of: challenge.entity, challenge: challenge.sid, fallbacks: challenge.fallbacks,
            untilMs: quietUntilMs, nowMs: nowMs)
        let seconds = Int((quietUntilMs - nowMs + 999) / 1000)
        return LimitRefusal(
            kind: .quiet, retryAfterSeconds: seconds,
            allowance: CreationAllowance(limit: limits.denials, remaining: 0, resetSeconds: seconds),
            fallbacks: challenge.fallbacks)
    }

    /// Once a minute: what is refused costs whoever asks nothing.
    func tellLimit(
        _ kind: LimitRefusal.Kind, of entity: EntitySID, challenge: ChallengeSID? = nil, fallbacks: [String],
        untilMs: Int64, nowMs: Int64
    ) throws {
        guard
            let row = try row(
                "SELECT \(Entity.columns), e.limit_told_ms FROM entities e WHERE e.sid = ?", [entity.rawValue])
        else { return }
        let toldMs: Int64 = row["limit_told_ms"]
        guard toldMs + StorePolicy.limitTellingMs <= nowMs || toldMs > nowMs else { return }
        try run("UPDATE entities SET limit_told_ms = ? WHERE sid = ?", [nowMs, entity.rawValue])
        try emitLimit(
            kind, of: Entity(row: row), id: "\(entity)/\(nowMs)", challenge: challenge, fallbacks: fallbacks,
            untilMs: untilMs, nowMs: nowMs)
    }

    /// - Parameter challenge: one that is not pushed.
    func emitLimit(
        _ kind: LimitRefusal.Kind, of entity: Entity, id: String, challenge: ChallengeSID? = nil, fallbacks: [String],
        untilMs: Int64, nowMs: Int64
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
            id: "\(id)/\(EventType.limitReached.rawValue)", data: data, nowMs: nowMs)
    }
}
