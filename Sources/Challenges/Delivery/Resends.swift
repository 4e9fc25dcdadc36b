public import ChallengeModel

extension ChallengeStore {
    /// Writes dispatch `n:<NT>`. - Throws: `limit(.notifications)` at 3, `alreadyResponded`, `alreadyExpired`, `limited`.
    /// - Parameter ttlSeconds: how long a provider may hold the push, at most until the challenge expires; 0: now or never;
    ///   nil: until it expires.
    public func createNotification(
        challenge sid: ChallengeSID, ttlSeconds: Int? = nil, nowMs: Int64
    ) async throws -> NotificationSID {
        let notification = NotificationSID.generate(nowMs: nowMs)
        // A limit's refusal is committed.
        let refusal = try await write(nowMs) { try $0.notify(sid, as: notification, ttlSeconds: ttlSeconds) }
        if let refusal { throw StoreError.limited(refusal) }
        return notification
    }
}

extension Decision {
    /// - Returns: why not; nil: it is on its way.
    func notify(_ sid: ChallengeSID, as notification: NotificationSID, ttlSeconds: Int?) throws -> LimitRefusal? {
        let locked = try rows.lockedPerson(ofChallenge: sid)
        guard let stored = try rows.challenge(sid) else { throw StoreError.notFound(.challenge) }
        let challenge = stored.challenge
        // The rule that decides answers decides here too: what can still be approved can be pushed again.
        try requireOpen(challenge)
        guard challenge.notifications < StorePolicy.notificationsPerChallenge else {
            throw StoreError.limit(.notifications)
        }
        guard let service = try rows.service(challenge.service, account: challenge.account) else {
            throw StoreError.notFound(.service)
        }
        if var person = locked, let untilMs = try quietUntilMs(of: &person) {
            return try refuseResend(of: challenge, to: &person, quietUntilMs: untilMs)
        }
        try resend(
            stored, as: notification,
            pushExpiresAtMs: ttlSeconds.map { min(nowMs + Int64($0) * 1000, challenge.expiresAtMs) }, service: service)
        return nil
    }

    /// Writes dispatch `n:<NT>`; what may be pushed is the caller's to know.
    func resend(
        _ stored: StoredChallenge, as notification: NotificationSID, pushExpiresAtMs: Int64?, service: Service
    ) throws {
        let challenge = stored.challenge
        try rows.countResend(of: challenge.sid, nowMs: nowMs)
        try audit("notification.created", account: challenge.account, subject: notification.rawValue, isTraffic: true)
        let targets = try targetsNow(of: challenge.sid, service: service)
        if challenge.quietUntilMs != nil {
            // Its devices are gone for the dispatchers: back, before the push. The tracker repeats nothing of it any more.
            for target in targets {
                guard let factor = FactorSID(target.factorSid) else { continue }
                try deviceChanged(
                    factor, of: challenge.sid, to: target, expiresAtMs: challenge.expiresAtMs,
                    traceparent: stored.traceparent)
            }
        }
        try dispatch(
            challenge, .resend(notification), to: targets, pushExpiresAtMs: pushExpiresAtMs,
            traceparent: stored.traceparent)
    }
}
