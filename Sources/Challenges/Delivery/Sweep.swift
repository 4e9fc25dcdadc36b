import ChallengeModel

extension ChallengeStore {
    /// Expires up to `limit` challenges that are due, and returns their number.
    public func expireDue(limit: Int, nowMs: Int64) async throws -> Int {
        let limit = min(max(limit, 1), 10_000)
        // A read comes first, so that an idle sweep needs no commit.
        guard try await engine.read({ try $0.hasDue(.expiredChallenges, untilMs: nowMs) }) else { return 0 }
        return try await write(nowMs) { decision in
            let due = try decision.rows.expiredChallenges(nowMs: nowMs, limit: limit)
            try decision.rows.prefetch { for sid in due { _ = try? decision.rows.challenge(sid) } }
            var expired = 0
            for stored in try due.compactMap({ try decision.rows.challenge($0) }) {
                do {
                    try decision.close(stored, .expire)
                    expired += 1
                } catch StoreError.alreadyResponded {
                    // Another Producer has closed this challenge, or its answer came first. The others must still expire.
                }
            }
            return expired
        }
    }

    /// Deletes what is due besides expired challenges, at most about `limit` rows of each kind: request ids, access
    /// tokens, unverified factors, old challenges, and the rest of deleted services and entities.
    public func keepHouse(limit: Int, nowMs: Int64) async throws {
        let limit = min(max(limit, 1), 10_000)
        guard try await read(nowMs, { try $0.hasHousekeeping() }) else { return }
        try await write(nowMs) { try $0.keepHouse(limit: limit) }
    }

    /// Makes the days that are missing in a store that keeps challenges by days, and then takes ended days away.
    /// - Throws: also when only the second failed.
    public func turnDays(nowMs: Int64) async throws {
        let (days, areMissing, haveEnded) = try await read(nowMs) { decision in
            let days = decision.days
            return (days, try decision.rows.areDaysMissing(days), try decision.rows.haveDaysEnded(days))
        }
        // Apart, so that a day that cannot be dropped keeps none from being made.
        if areMissing { try await engine.write { try $0.makeDays(days) } }
        if haveEnded { try await engine.write { try $0.dropDays(days) } }
    }
}

extension ChallengeStore {
    /// How many whole days after today have room in a store that keeps challenges in partitions by day: the next seven
    /// in a healthy store. -1: there is none even for today, and nothing can be created. Nil: the store has no such
    /// partitions.
    public func daysAhead(nowMs: Int64) async throws -> Int? {
        let today = nowMs - nowMs % StorePolicy.dayMs
        let made = try await engine.read { try $0.madeDays(fromMs: today, limit: 31) }
        return made.map { days in
            zip(days, 0...).prefix { day, index in day == today + Int64(index) * StorePolicy.dayMs }.count - 1
        }.min()
    }
}

extension AgedRows {
    /// How long a row is kept after its end, or after its creation when it has no end.
    fileprivate var keptMs: Int64 {
        switch self {
        case .requestIDs: StorePolicy.requestIDLifeMs
        case .accessTokens: StorePolicy.accessTokenKeptMs
        case .codeCreations, .factorCreations: StorePolicy.dayMs
        case .deviceRequests: StorePolicy.tokenUseKeptMs
        case .sessionTokens: 0
        case .idempotencyKeys: StorePolicy.idempotencyKeyLifeMs
        case .auditOfTraffic: StorePolicy.auditTrafficKeptMs
        case .audit: StorePolicy.auditKeptMs
        case .alerts: StorePolicy.alertsKeptMs
        }
    }
}

extension Decision {
    private var unverifiedUntilMs: Int64 { nowMs - StorePolicy.unverifiedLifeMs }

    fileprivate var days: Days {
        Days(
            nowMs: nowMs, challengesUntilMs: nowMs - rules.retentionMs,
            trafficUntilMs: nowMs - StorePolicy.auditTrafficKeptMs)
    }

    fileprivate func hasHousekeeping() throws -> Bool {
        try rows.prefetch {
            for kind in AgedRows.allCases { _ = try? rows.hasAged(kind, untilMs: nowMs - kind.keptMs) }
            _ = try? rows.hasDue(.unverifiedFactors, untilMs: unverifiedUntilMs)
            _ = try? rows.hasDue(.unverifiedCodeFactors, untilMs: unverifiedUntilMs)
            _ = try? rows.hasDue(.unreachableFactors, untilMs: nowMs)
            _ = try? rows.deletedService()
            _ = try? rows.entityToPurge()
        }
        for kind in AgedRows.allCases where try rows.hasAged(kind, untilMs: nowMs - kind.keptMs) { return true }
        if try rows.hasDue(.unverifiedFactors, untilMs: unverifiedUntilMs) { return true }
        if try rows.hasDue(.unverifiedCodeFactors, untilMs: unverifiedUntilMs) { return true }
        if try rows.hasDue(.unreachableFactors, untilMs: nowMs) { return true }
        if try rows.deletedService() != nil { return true }
        if try rows.entityToPurge() != nil { return true }
        return try !rows.closedChallenges(createdUntilMs: nowMs - rules.retentionMs, limit: 1).isEmpty
    }

    fileprivate func keepHouse(limit: Int) throws {
        for kind in AgedRows.allCases { try rows.deleteAged(kind, untilMs: nowMs - kind.keptMs, limit: limit) }
        try pruneUnverified(of: nil, limit: limit)
        try pruneUnverifiedCodes(of: nil, limit: limit)
        try rows.delete(rows.closedChallenges(createdUntilMs: nowMs - rules.retentionMs, limit: limit))
        try purgeServices(limit: max(1, limit / 10))
        try purgeEntities(limit: limit)
        try purgeUnreachable(limit: limit)
    }

    private func purgeServices(limit: Int) throws {
        guard let service = try rows.deletedService() else { return }
        let entities = try rows.someEntities(ofService: service, limit: limit)
        for entity in entities { try delete(entity) }
        guard entities.count < limit, let account = try rows.serviceOrDeleted(service)?.account else { return }
        // Not while one is being made for it, or is locked.
        try rows.lock(account)
        if try !rows.hasEntity(ofService: service) { try rows.delete(service) }
    }

    private func purgeEntities(limit: Int) throws {
        guard let entity = try rows.entityToPurge() else { return }
        let challenges = try rows.someChallenges(of: entity, limit: limit)
        try rows.delete(challenges)
        if challenges.count < limit { try rows.endPurge(of: entity) }
    }
}
