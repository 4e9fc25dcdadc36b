import ChallengeModel
import GRDB

extension Database {
    /// The challenge of an action that is stored as pending; there is one at most.
    func pendingChallenge(ofAction key: String?, entity: EntitySID) throws -> StoredChallenge? {
        guard let key else { return nil }
        return try row(
            """
            SELECT \(Challenge.columns) FROM challenges c INDEXED BY challenges_by_action \
            WHERE c.entity_sid = ? AND c.action_key = ? AND c.status = 'pending'
            """, [entity.rawValue, key]
        ).map(Challenge.read)
    }

    /// Pushes a challenge again because its action was asked for again: within the limit of resends, not while the last push may
    /// still be confirmed, and not while the identity is quiet.
    func pushAgain(
        _ stored: StoredChallenge, service: Service, limits: ChallengeLimits, nowMs: Int64
    ) throws -> Challenge {
        var challenge = stored.challenge
        if let untilMs = try quietUntilMs(of: challenge.entity, limits: limits, nowMs: nowMs) {
            // The reply says so, as for one that is made meanwhile.
            try tellLimit(
                .quiet, of: challenge.entity, challenge: challenge.sid, fallbacks: challenge.fallbacks,
                untilMs: untilMs, nowMs: nowMs)
            challenge.quietUntilMs = untilMs
            return challenge
        }
        let latencyMs = challenge.redelivery.expectedLatencyMs
        guard challenge.notifications < StorePolicy.notificationsPerChallenge,
            nowMs - challenge.updatedAtMs >= Int64(latencyMs == 0 ? 8000 : latencyMs)
        else { return challenge }
        try resend(stored, as: .generate(nowMs: nowMs), pushExpiresAtMs: nil, service: service, nowMs: nowMs)
        challenge.notifications += 1
        challenge.updatedAtMs = nowMs
        challenge.quietUntilMs = nil
        return challenge
    }

    /// Writes dispatch `n:<NT>`; what may be pushed is the caller's to know.
    func resend(
        _ stored: StoredChallenge, as notification: NotificationSID, pushExpiresAtMs: Int64?, service: Service,
        nowMs: Int64
    ) throws {
        let sid = stored.challenge.sid
        try run(
            "UPDATE challenges SET notifications = notifications + 1, updated_ms = ?, quiet_until_ms = NULL WHERE sid = ?",
            [nowMs, sid.rawValue])
        try audit(
            "notification.created", account: stored.challenge.account, subject: notification.rawValue, isTraffic: true,
            nowMs: nowMs)
        let targets = try targetsNow(of: sid, service: service)
        if stored.challenge.quietUntilMs != nil {
            // Its devices are gone for the dispatchers: back, before the push. The tracker repeats nothing of it any more.
            for target in targets {
                try deviceChanged(
                    target.factorSid, of: sid.rawValue, to: target, expiresAtMs: stored.challenge.expiresAtMs,
                    traceparent: stored.traceparent, nowMs: nowMs)
            }
        }
        try dispatch(
            stored.challenge, .resend(notification), to: targets,
            pushExpiresAtMs: pushExpiresAtMs, traceparent: stored.traceparent, nowMs: nowMs)
    }
}

extension Challenge {
    /// Whether it can stand for a new challenge of its action: it asks the same under the same rules, and enough of its life is left
    /// for the person to answer.
    func stands(for new: NewChallenge, under rules: ApprovalRules, nowMs: Int64) -> Bool {
        message == new.message && fields == new.fields && hiddenDetails == new.hiddenDetails && factor == new.factor
            && numberDigits == rules.numberDigits && requiresSession == rules.requiresSession
            && expiresAtMs - nowMs >= max(StorePolicy.leastLifeMs, (expiresAtMs - createdAtMs) / 4)
    }
}
