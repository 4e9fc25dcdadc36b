import ChallengeModel
import GRDB

extension Database {
    /// - Returns: the factor as it is now, unchanged when it was verified before.
    func verify(_ factor: Factor, nowMs: Int64) throws -> Factor {
        if factor.isVerified { return factor }
        guard factor.createdAtMs > nowMs - StorePolicy.unverifiedLifeMs else { throw StoreError.notFound(.factor) }
        var factor = factor
        factor.isVerified = true
        factor.updatedAtMs = nowMs
        try run("UPDATE factors SET verified = 1, updated_ms = ? WHERE sid = ?", [nowMs, factor.sid.rawValue])
        try spendAccessToken(of: factor.sid, nowMs: nowMs)
        try replaceFormerSelves(of: factor, nowMs: nowMs)
        try makeRoom(for: factor, nowMs: nowMs)
        let others = try integer(
            "SELECT count(*) FROM factors WHERE entity_sid = ? AND verified = 1 AND sid <> ?",
            [factor.entity.rawValue, factor.sid.rawValue])
        try emit(.factorVerified, factor, ["other_factors": .integer(others)], nowMs: nowMs)
        if factor.notificationsEnabled == false {
            try emit(.factorNotificationsDisabled, factor, revision: 0, nowMs: nowMs)
        }
        return factor
    }

    /// - Returns: the factor as it is now, unchanged when it was so before.
    func apply(_ change: FactorChange, to former: Factor, limits: ChallengeLimits, nowMs: Int64) throws -> Factor {
        var factor = former
        factor.apply(change)
        // Whoever sends a push token has it from the system now, also when it is the one that was dead.
        if change.pushToken != nil || !factor.hasRegistration(of: former) { factor.unreachableAtMs = nil }
        guard factor != former else { return former }
        factor.updatedAtMs = nowMs
        let isRegisteredAnew =
            !factor.hasRegistration(of: former) || factor.unreachableAtMs != former.unreachableAtMs
        if isRegisteredAnew { factor.registeredAtMs = nowMs }
        let revision = try update(factor)
        if isRegisteredAnew { try forgetDeath(of: factor.sid) }
        // One that was verified without its push token is known for the same device by it now.
        if isRegisteredAnew, factor.isVerified { try replaceFormerSelves(of: factor, nowMs: nowMs) }
        // While nothing is pushed it would bring back a device that was silenced.
        if isRegisteredAnew, try quietUntilMs(of: factor.entity, limits: limits, nowMs: nowMs) == nil {
            try tellLiveChallenges(of: factor, isGone: false, nowMs: nowMs)
        }
        try emit(.factorUpdated, factor, revision: revision, nowMs: nowMs)
        // Of one that is not verified its verification tells it.
        if factor.isVerified, factor.notificationsEnabled == false, former.notificationsEnabled != false {
            try emit(.factorNotificationsDisabled, factor, revision: revision, nowMs: nowMs)
        }
        return factor
    }

    /// A verified factor takes the place of every other one that is the same app on the same device, by its push token.
    private func replaceFormerSelves(of factor: Factor, nowMs: Int64) throws {
        let replaced = try rows(
            """
            SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND verified = 1 AND push_token = ? \
            AND platform = ? AND app_id = ? AND sid <> ?
            """,
            [
                factor.entity.rawValue, factor.pushToken, factor.platform.rawValue, factor.appID, factor.sid.rawValue,
            ])
        for row in replaced { try delete(Factor(row: row), reason: .replaced, nowMs: nowMs) }
    }
}
