import ChallengeModel

/// The decision about a creation.
enum Admission {
    /// - Parameter quietUntilMs: nothing is pushed before this time; nil: pushes are sent.
    case admitted(CreationAllowance?, quietUntilMs: Int64?)
    case refused(LimitRefusal)
}

extension Decision {
    private var limits: ChallengeLimits { rules.limits }

    /// Counts a creation of a person against the limits.
    /// Creations are limited by a token bucket of size `burst` that gains one creation each interval. The store keeps
    /// the time at which it is full again. Commit the transaction also after a refusal, because its event is written
    /// once a minute.
    /// - Parameter isReplacing: true when a pending challenge is superseded in the same transaction.
    func admit(_ person: inout Person, isReplacing: Bool, fallbacks: [String]) throws -> Admission {
        guard limits != .none else { return .admitted(nil, quietUntilMs: nil) }
        var allowance: CreationAllowance?
        var nextFullAtMs = person.limits.creationsFullAtMs
        if limits.burst > 0 {
            let bucket = CreationBucket(limits)
            let startMs = bucket.fullAtMs(nextFullAtMs, nowMs: nowMs)
            nextFullAtMs = startMs + limits.intervalMs
            func standing(_ fullAtMs: Int64) -> CreationAllowance {
                CreationAllowance(
                    limit: limits.burst, remaining: bucket.remaining(fullAtMs: fullAtMs, nowMs: nowMs),
                    resetSeconds: seconds(until: fullAtMs))
            }
            guard nextFullAtMs - nowMs <= bucket.spanMs else {
                return .refused(
                    try refuse(
                        &person, .creations, untilMs: nextFullAtMs - bucket.spanMs, standing(startMs),
                        fallbacks: fallbacks))
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

    /// The expiries of pending challenges, at most one more than the limit.
    func pendingExpiries(of entity: EntitySID) throws -> [Int64] {
        guard limits.pending > 0 else { return [] }
        // A challenge that is still pending was created within the longest life, by a clock that may differ by a day.
        let withinMs = ChallengeRules.maxLifeMs + StorePolicy.dayMs
        func lowest(_ timeMs: Int64) -> ChallengeSID { .lowest(variant: ChallengeSID.variant, nowMs: timeMs) }
        return try rows.pendingExpiries(
            of: entity, madeIn: lowest(nowMs - withinMs)..<lowest(nowMs + withinMs), nowMs: nowMs,
            limit: limits.pending + 1)
    }

    private func refuse(
        _ person: inout Person, _ kind: LimitRefusal.Kind, untilMs: Int64, _ allowance: CreationAllowance?,
        fallbacks: [String]
    ) throws -> LimitRefusal {
        try tellLimit(kind, of: &person, fallbacks: fallbacks, untilMs: untilMs)
        return LimitRefusal(
            kind: kind, retryAfterSeconds: max(1, seconds(until: untilMs)), allowance: allowance, fallbacks: fallbacks)
    }

    /// Seconds until a time, rounded up.
    private func seconds(until timeMs: Int64) -> Int { Int((timeMs - nowMs + 999) / 1000) }

    /// Counts a denial. After the third denial within ten minutes somebody else is probably causing the challenges.
    /// Nothing is then pushed for a while, including pending challenges.
    func countDenial(of challenge: Challenge, by person: inout Person) throws {
        guard limits.denials > 0, !challenge.isCodeChallenge else { return }
        let recent = person.limits.recentDenialsMs(under: limits, nowMs: nowMs) + [nowMs]
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

    /// Time until which nothing is pushed to the person; nil: the person is not quiet.
    func quietUntilMs(of person: inout Person) throws -> Int64? {
        let former = person.limits.quietUntilMs
        let untilMs = person.limits.quietUntilMs(under: limits, nowMs: nowMs)
        if person.limits.quietUntilMs != former { try rows.update(person.limits, of: person.entity.sid) }
        return untilMs
    }

    /// Refuses to push a challenge again while its person is quiet, and writes the event. The allowance counts denials,
    /// and none is left.
    func refuseResend(of challenge: Challenge, to person: inout Person, quietUntilMs: Int64) throws -> LimitRefusal {
        try tellLimit(
            .quiet, of: &person, challenge: challenge.sid, fallbacks: challenge.fallbacks, untilMs: quietUntilMs)
        let left = seconds(until: quietUntilMs)
        return LimitRefusal(
            kind: .quiet, retryAfterSeconds: left,
            allowance: CreationAllowance(limit: limits.denials, remaining: 0, resetSeconds: left),
            fallbacks: challenge.fallbacks)
    }

    /// Writes at most one event a minute, because a refused request costs the caller nothing.
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

/// The token bucket of creations. The store keeps the time at which it is full again.
struct CreationBucket: Sendable {
    private let intervalMs: Int64
    /// Time in which an empty bucket becomes full.
    let spanMs: Int64

    init(_ limits: ChallengeLimits) {
        intervalMs = limits.intervalMs
        spanMs = Int64(limits.burst) * limits.intervalMs
    }

    /// The stored time, not in the past. A clock that was set back blocks nobody for longer than an empty bucket.
    func fullAtMs(_ storedMs: Int64, nowMs: Int64) -> Int64 { min(max(storedMs, nowMs), nowMs + spanMs) }

    func remaining(fullAtMs: Int64, nowMs: Int64) -> Int { Int((spanMs - (fullAtMs - nowMs)) / intervalMs) }
}

extension PersonLimits {
    /// Denials with times far in the future, from a clock that was ahead, are ignored like old ones.
    func recentDenialsMs(under limits: ChallengeLimits, nowMs: Int64) -> [Int64] {
        denialsMs.filter { abs($0 - nowMs) < limits.denialWindowMs }
    }

    /// Time until which nothing is pushed; nil: the person is not quiet. An end that is too far ahead is moved to the
    /// longest allowed time, because the clock was set back or the setting was lowered.
    mutating func quietUntilMs(under limits: ChallengeLimits, nowMs: Int64) -> Int64? {
        guard limits.denials > 0, quietUntilMs > nowMs else { return nil }
        quietUntilMs = min(quietUntilMs, nowMs + limits.quietMs)
        return quietUntilMs
    }
}
