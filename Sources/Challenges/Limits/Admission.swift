import ChallengeModel

/// What a creation may do.
enum Admission {
    /// - Parameter quietUntilMs: nothing is pushed before; nil: pushes go.
    case admitted(CreationAllowance?, quietUntilMs: Int64?)
    case refused(LimitRefusal)
}

extension Decision {
    private var limits: ChallengeLimits { rules.limits }

    /// Counts a creation of a person against the limits.
    ///
    /// Creations are a bucket of `burst` that fills by one each interval, kept as the time at which it will be full again. A refusal
    /// is to be committed: its event is written once a minute.
    /// - Parameter isReplacing: a pending challenge goes in the same transaction.
    func admit(_ person: inout Person, isReplacing: Bool, fallbacks: [String]) throws -> Admission {
        guard limits != .none else { return .admitted(nil, quietUntilMs: nil) }
        var allowance: CreationAllowance?
        var nextFullAtMs = person.limits.creationsFullAtMs
        if limits.burst > 0 {
            let spanMs = Int64(limits.burst) * limits.intervalMs
            // A clock that was set back locks nobody out for longer than an empty bucket does.
            let startMs = min(max(nextFullAtMs, nowMs), nowMs + spanMs)
            nextFullAtMs = startMs + limits.intervalMs
            func standing(_ fullAtMs: Int64) -> CreationAllowance {
                CreationAllowance(
                    limit: limits.burst, remaining: Int((spanMs - (fullAtMs - nowMs)) / limits.intervalMs),
                    resetSeconds: seconds(until: fullAtMs))
            }
            guard nextFullAtMs - nowMs <= spanMs else {
                return .refused(
                    try refuse(
                        &person, .creations, untilMs: nextFullAtMs - spanMs, standing(startMs), fallbacks: fallbacks))
            }
            allowance = standing(nextFullAtMs)
        }
        if limits.pending > 0 {
            let pending = try pendingExpiries(of: person.entity.sid)
            if pending.count - (isReplacing ? 1 : 0) >= limits.pending {
                return .refused(
                    try refuse(
                        &person, .pending, untilMs: pending.min() ?? nowMs, allowance, fallbacks: fallbacks))
            }
        }
        let former = person.limits
        let untilMs = person.limits.quietUntilMs(under: limits, nowMs: nowMs)
        if limits.burst > 0 { person.limits.creationsFullAtMs = nextFullAtMs }
        if person.limits != former { try rows.update(person.limits, of: person.entity.sid) }
        return .admitted(allowance, quietUntilMs: untilMs)
    }

    /// Reading stops behind the limit.
    func pendingExpiries(of entity: EntitySID) throws -> [Int64] {
        guard limits.pending > 0 else { return [] }
        return try rows.pendingExpiries(of: entity, nowMs: nowMs, limit: limits.pending + 1)
    }

    private func refuse(
        _ person: inout Person, _ kind: LimitRefusal.Kind, untilMs: Int64, _ allowance: CreationAllowance?,
        fallbacks: [String]
    ) throws -> LimitRefusal {
        try tellLimit(kind, of: &person, fallbacks: fallbacks, untilMs: untilMs)
        return LimitRefusal(
            kind: kind, retryAfterSeconds: max(1, seconds(until: untilMs)), allowance: allowance, fallbacks: fallbacks)
    }

    /// Rounded up.
    private func seconds(until timeMs: Int64) -> Int { Int((timeMs - nowMs + 999) / 1000) }

    /// A person said no. The third time within ten minutes somebody else is asking: nothing is pushed for a while, of what is pending
    /// neither.
    func countDenial(of challenge: Challenge, by person: inout Person) throws {
        guard limits.denials > 0, !challenge.isCodeChallenge else { return }
        // Those of a clock that was far ahead are as far away as old ones.
        let recent = person.limits.denialsMs.filter { abs($0 - nowMs) < limits.denialWindowMs } + [nowMs]
        person.limits.denialsMs = recent.suffix(limits.denials)
        let isReached = person.limits.denialsMs.count >= limits.denials
        let untilMs = nowMs + limits.quietMs
        if isReached {
            let isQuiet = person.limits.quietUntilMs(under: limits, nowMs: nowMs) != nil
            try silenceLiveChallenges(of: person.entity.sid, untilMs: untilMs, isQuiet: isQuiet)
            person.limits.quietUntilMs = untilMs
        }
        try rows.update(person.limits, of: person.entity.sid)
        guard isReached else { return }
        try emitLimit(
            .quiet, of: person.entity, id: "\(challenge.sid)/denied", fallbacks: challenge.fallbacks, untilMs: untilMs)
    }

    /// Until when nothing is pushed to the person; nil: the person is not quiet.
    func quietUntilMs(of person: inout Person) throws -> Int64? {
        let former = person.limits.quietUntilMs
        let untilMs = person.limits.quietUntilMs(under: limits, nowMs: nowMs)
        if person.limits.quietUntilMs != former { try rows.update(person.limits, of: person.entity.sid) }
        return untilMs
    }

    /// The refusal to push a challenge again while its person is quiet; it is told. What is counted are denials, and none is left.
    func refuseResend(of challenge: Challenge, to person: inout Person, quietUntilMs: Int64) throws -> LimitRefusal {
        try tellLimit(
            .quiet, of: &person, challenge: challenge.sid, fallbacks: challenge.fallbacks, untilMs: quietUntilMs)
        let left = seconds(until: quietUntilMs)
        return LimitRefusal(
            kind: .quiet, retryAfterSeconds: left,
            allowance: CreationAllowance(limit: limits.denials, remaining: 0, resetSeconds: left),
            fallbacks: challenge.fallbacks)
    }

    /// Once a minute: what is refused costs whoever asks nothing.
    func tellLimit(
        _ kind: LimitRefusal.Kind, of person: inout Person, challenge: ChallengeSID? = nil, fallbacks: [String],
        untilMs: Int64
    ) throws {
        let toldMs = person.limits.limitToldMs
        guard toldMs + StorePolicy.limitTellingMs <= nowMs || toldMs > nowMs else { return }
        person.limits.limitToldMs = nowMs
        try rows.update(person.limits, of: person.entity.sid)
        try emitLimit(
            kind, of: person.entity, id: "\(person.entity.sid)/\(nowMs)", challenge: challenge, fallbacks: fallbacks,
            untilMs: untilMs)
    }
}

extension PersonLimits {
    /// Until when nothing is pushed; nil: the person is not quiet. An end further ahead than any can be is brought near: the clock
    /// was set back, or the setting lowered.
    fileprivate mutating func quietUntilMs(under limits: ChallengeLimits, nowMs: Int64) -> Int64? {
        guard limits.denials > 0, quietUntilMs > nowMs else { return nil }
        quietUntilMs = min(quietUntilMs, nowMs + limits.quietMs)
        return quietUntilMs
    }
}
