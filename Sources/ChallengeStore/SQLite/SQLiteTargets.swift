import ChallengeModel
import Foundation
import GRDB

extension Factor {
    /// The device as a dispatch names it.
    /// - Parameter backgroundBudget: background pushes that the whole challenge may use on it.
    func dispatchTarget(of service: Service, backgroundBudget: Int) -> DispatchTarget {
        var target = DispatchTarget()
        target.factorSid = sid.rawValue
        target.platform = platform
        target.pushToken = pushToken ?? ""
        target.appID = appID
        target.credentialSid = service.credential(for: platform)?.rawValue ?? ""
        target.environment = environment
        target.registeredAtMs = registeredAtMs
        target.backgroundBudget = UInt32(backgroundBudget)
        target.notificationsDisabled = notificationsEnabled == false
        // It is addressed and polls; nothing is pushed to a token that is dead.
        if unreachableAtMs != nil {
            target.platform = .noPush
            target.pushToken = ""
        }
        return target
    }
}

extension Database {
    /// The devices of a new challenge, oldest first.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `noVerifiedFactor`.
    func resolveTargets(of entity: EntitySID, named factor: FactorSID?, fallbacks: [String]) throws -> [Factor] {
        if let factor {
            guard
                let row = try row(
                    "SELECT \(Factor.columns) FROM factors WHERE sid = ? AND entity_sid = ?",
                    [factor.rawValue, entity.rawValue])
            else { throw StoreError.notFound(.factor) }
            let found = try Factor(row: row)
            guard found.isVerified else { throw StoreError.factorUnverified }
            return [found]
        }
        let found = try rows(
            "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND verified = 1 ORDER BY sid",
            [entity.rawValue]
        ).map(Factor.init(row:))
        guard !found.isEmpty else { throw StoreError.noVerifiedFactor(fallbacks: fallbacks) }
        return found
    }

    /// Reserves background pushes for one challenge and device. - Returns: how many it may use.
    func grantBackgroundPushes(to factor: Factor, challenge: ChallengeSID, nowMs: Int64) throws -> Int {
        guard factor.platform == .apn, factor.pushToken != nil, factor.unreachableAtMs == nil else { return 0 }
        try run(
            "DELETE FROM background_grants WHERE factor_sid = ? AND granted_ms <= ?",
            [factor.sid.rawValue, nowMs - StorePolicy.backgroundWindowMs])
        let used = try integer("SELECT count(*) FROM background_grants WHERE factor_sid = ?", [factor.sid.rawValue])
        let budget = StorePolicy.backgroundBudget(used: Int(used))
        if budget > 0 {
            try run(
                "INSERT INTO background_grants (factor_sid, granted_ms, challenge_sid) VALUES (?, ?, ?)",
                [factor.sid.rawValue, nowMs, challenge.rawValue])
        }
        return budget
    }

    /// `DeviceChanged` to every live challenge that is addressed to the factor.
    func tellLiveChallenges(of factor: Factor, isGone: Bool, nowMs: Int64) throws {
        let live = try rows(
            """
            SELECT c.sid, c.expires_ms, c.traceparent, t.background_budget FROM challenges c INDEXED BY challenges_live \
            JOIN challenge_targets t ON t.challenge_sid = c.sid AND t.factor_sid = ? \
            WHERE c.entity_sid = ? AND c.status = 'pending' AND c.expires_ms > ? ORDER BY c.sid
            """, [factor.sid.rawValue, factor.entity.rawValue, nowMs])
        guard !live.isEmpty else { return }
        // A service that is on its way out still names its credentials.
        let service = try row(
            "SELECT \(Service.columns) FROM services WHERE sid = ?", [factor.service.rawValue]
        ).map(Service.init(row:))
        for row in live {
            var columns = Columns(row)
            let challenge = columns.text()
            let expiresAtMs = columns.int64()
            let traceparent = columns.optionalText()
            let target =
                isGone
                ? nil : service.map { factor.dispatchTarget(of: $0, backgroundBudget: columns.integer()) }
            try deviceChanged(
                factor.sid.rawValue, of: challenge, to: target, expiresAtMs: expiresAtMs, traceparent: traceparent,
                nowMs: nowMs)
        }
    }

    /// Stops the pushes of an identity's live challenges: to whoever pushes, their devices are gone. Polling finds the challenges,
    /// and a resend brings the devices back.
    /// - Parameter isQuiet: they are silent already, and stay so for longer.
    func silenceLiveChallenges(of entity: EntitySID, untilMs: Int64, isQuiet: Bool, nowMs: Int64) throws {
        // One-time codes ring nothing.
        let isLive = """
            entity_sid = ? AND status = 'pending' AND expires_ms > ? \
            AND (challenges.factor_sid IS NULL OR substr(challenges.factor_sid, 1, 4) <> 'YF02')
            """
        let live =
            isQuiet
            ? []
            : try rows(
                """
                SELECT sid, expires_ms, traceparent, t.factor_sid FROM challenges INDEXED BY challenges_live \
                JOIN challenge_targets t ON t.challenge_sid = sid WHERE \(isLive) ORDER BY sid, t.factor_sid
                """, [entity.rawValue, nowMs])
        for row in live {
            try deviceChanged(
                row[3], of: row[0], to: nil, expiresAtMs: row[1], traceparent: row[2], nowMs: nowMs)
        }
        try run(
            "UPDATE challenges INDEXED BY challenges_live SET quiet_until_ms = ? WHERE \(isLive)",
            [untilMs, entity.rawValue, nowMs])
    }

    /// - Parameter target: the device as it is now; nil: it is gone.
    func deviceChanged(
        _ factor: String, of challenge: String, to target: DispatchTarget?, expiresAtMs: Int64, traceparent: String?,
        nowMs: Int64
    ) throws {
        var changed = DeviceChanged()
        changed.challengeSid = challenge
        changed.factorSid = factor
        if let target { changed.target = target } else { changed.gone = true }
        var record = ChallengeRecord()
        record.kind = .deviceChanged(changed)
        try enqueue(
            .challenges, key: challenge, value: record.protobufBytes(), expiresAtMs: expiresAtMs,
            traceparent: traceparent, nowMs: nowMs)
    }
}
