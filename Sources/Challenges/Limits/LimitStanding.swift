public import ChallengeModel

/// One of the limits against push bombing, as it stands for one identity now.
public struct LimitStanding: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        case creations
        /// Challenges that are pending.
        case pending
        case denials
        /// Wrong numbers.
        case numbers
    }

    public let kind: Kind
    /// The device whose numbers are counted; nil: the limit counts for the whole identity.
    public let factor: FactorSID?
    public let maximum: Int
    /// From 0 to ``maximum``.
    public let used: Int
    /// Epoch milliseconds at which nothing is used any more; nil: nothing is used.
    public let resetMs: Int64?
    /// Epoch milliseconds until which the limit has its effect; nil: it is not reached.
    public let blockedUntilMs: Int64?
}

extension ChallengeStore {
    /// The limits that are switched on, as they stand for an identity. Reads only, and counts nothing.
    /// - Returns: creations, pending challenges, denials and wrong numbers of the identity, then the wrong numbers of
    ///   each device that has sent one; nil: there is no such identity.
    public func limits(
        account: AccountSID, service: ServiceSID, identity: String, nowMs: Int64
    ) async throws -> (entity: Entity, limits: [LimitStanding])? {
        try await read(nowMs) { decision in
            guard let person = try decision.rows.person(account: account, service: service, identity: identity) else {
                return nil
            }
            return (person.entity, try decision.standings(of: person))
        }
    }
}

extension Decision {
    fileprivate func standings(of person: Person) throws -> [LimitStanding] {
        let limits = rules.limits
        var standings: [LimitStanding] = []
        if let creations = person.limits.creations(under: limits, nowMs: nowMs) { standings.append(creations) }
        if limits.pending > 0 {
            let expiries = try pendingExpiries(of: person.entity.sid)
            standings.append(
                LimitStanding(
                    kind: .pending, factor: nil, maximum: limits.pending, used: min(expiries.count, limits.pending),
                    resetMs: expiries.max(),
                    blockedUntilMs: expiries.count >= limits.pending ? expiries.min() : nil))
        }
        if let denials = person.limits.denials(under: limits, nowMs: nowMs) { standings.append(denials) }
        if let numbers = person.limits.wrongNumbers.standing(
            limit: limits.identityGuesses, limits: limits, nowMs: nowMs)
        {
            standings.append(numbers)
        }
        for factor in try rows.factors(of: person.entity.sid) {
            let numbers = try rows.wrongNumbers(of: factor.sid).standing(
                of: factor.sid, limit: limits.factorGuesses, limits: limits, nowMs: nowMs)
            if let numbers, numbers.used > 0 { standings.append(numbers) }
        }
        return standings
    }
}

extension PersonLimits {
    fileprivate func creations(under limits: ChallengeLimits, nowMs: Int64) -> LimitStanding? {
        guard limits.burst > 0 else { return nil }
        let bucket = CreationBucket(limits)
        let fullAtMs = bucket.fullAtMs(creationsFullAtMs, nowMs: nowMs)
        let remaining = bucket.remaining(fullAtMs: fullAtMs, nowMs: nowMs)
        return LimitStanding(
            kind: .creations, factor: nil, maximum: limits.burst, used: limits.burst - remaining,
            resetMs: fullAtMs > nowMs ? fullAtMs : nil,
            blockedUntilMs: remaining == 0 ? fullAtMs + limits.intervalMs - bucket.spanMs : nil)
    }

    fileprivate func denials(under limits: ChallengeLimits, nowMs: Int64) -> LimitStanding? {
        guard limits.denials > 0 else { return nil }
        let recent = recentDenialsMs(under: limits, nowMs: nowMs)
        var quiet = self
        let quietUntilMs = quiet.quietUntilMs(under: limits, nowMs: nowMs)
        let resetMs = recent.max().map { $0 + limits.denialWindowMs }
        return LimitStanding(
            kind: .denials, factor: nil, maximum: limits.denials,
            used: quietUntilMs == nil ? min(recent.count, limits.denials) : limits.denials,
            resetMs: [resetMs, quietUntilMs].compactMap(\.self).max(), blockedUntilMs: quietUntilMs)
    }
}

extension NumberGuesses {
    fileprivate func standing(
        of factor: FactorSID? = nil, limit: Int, limits: ChallengeLimits, nowMs: Int64
    ) -> LimitStanding? {
        guard limit > 0 else { return nil }
        let recent = recent(windowMs: limits.guessWindowMs, nowMs: nowMs)
        return LimitStanding(
            kind: .numbers, factor: factor, maximum: limit, used: min(recent.count, limit),
            resetMs: recent.max().map { $0 + limits.guessWindowMs },
            blockedUntilMs: closedUntilMs(limit: limit, windowMs: limits.guessWindowMs, nowMs: nowMs))
    }
}
