public import ChallengeModel

extension ChallengeStore {
    /// Writes dispatch `n:<NT>`. - Throws: `limit(.notifications)` at 3, `alreadyResponded`, `alreadyExpired`,
    /// `limited`, `noPush`.
    /// - Parameter ttlSeconds: how long a provider may store the push, at most until the challenge expires; 0: deliver
    ///   now or never; nil: until the challenge expires.
    public func createNotification(
        challenge sid: ChallengeSID, ttlSeconds: Int? = nil, nowMs: Int64
    ) async throws -> NotificationSID {
        let notification = NotificationSID.generate(nowMs: nowMs)
        // The refusal by a limit must be committed.
        let refusal = try await write(nowMs) { try $0.notify(sid, as: notification, ttlSeconds: ttlSeconds) }
        if let refusal { throw StoreError.limited(refusal) }
        return notification
    }
}

extension Decision {
    /// - Returns: the refusal; nil when the push is on its way.
    func notify(_ sid: ChallengeSID, as notification: NotificationSID, ttlSeconds: Int?) throws -> LimitRefusal? {
        let locked = try rows.lockedPerson(ofChallenge: sid)
        guard let stored = try rows.challenge(sid) else { throw StoreError.notFound(.challenge) }
        let challenge = stored.challenge
        try requirePush(to: challenge)
        // The same rule as for answers applies: a challenge that can still be approved can be pushed again.
        try challenge.requireOpen(nowMs: nowMs)
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

    /// - Throws: `noPush` when the challenge names a factor that gets no pushes.
    private func requirePush(to challenge: Challenge) throws {
        guard let factor = challenge.factor else { return }
        guard !factor.isCodeFactor else { throw StoreError.noPush(.codeFactor) }
        if try rows.factor(factor)?.platform == .noPush { throw StoreError.noPush(.noPlatform) }
    }

    /// Writes dispatch `n:<NT>`. The caller has checked that the challenge may be pushed.
    func resend(
        _ stored: StoredChallenge, as notification: NotificationSID, pushExpiresAtMs: Int64?, service: Service
    ) throws {
        let challenge = stored.challenge
        try rows.countResend(of: challenge.sid, nowMs: nowMs)
        try audit("notification.created", account: challenge.account, subject: notification.rawValue, isTraffic: true)
        let targets = try targetsNow(of: challenge, service: service)
        if challenge.quietUntilMs != nil {
            // Dispatchers see the devices of a quiet challenge as removed, so they are added again before the push. The
            // tracker does not repeat pushes of this challenge.
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
