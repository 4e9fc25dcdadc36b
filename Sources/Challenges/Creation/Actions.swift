import ChallengeModel

/// One live challenge per action of a person.
extension Decision {
    /// Pushes a pending challenge again because its action was requested again. It does not push above the limit of
    /// resends, while the last push may still be confirmed, or while the person is quiet.
    func pushAgain(_ stored: StoredChallenge, of person: inout Person, service: Service) throws -> Challenge {
        var challenge = stored.challenge
        if let untilMs = try quietUntilMs(of: &person) {
            // The reply says so, as it does for a challenge that is created while the person is quiet.
            try tellLimit(
                .quiet, of: &person, challenge: challenge.sid, fallbacks: challenge.fallbacks, untilMs: untilMs)
            challenge.quietUntilMs = untilMs
            return challenge
        }
        let latencyMs = StorePolicy.completed(challenge.redelivery).expectedLatencyMs
        guard challenge.notifications < StorePolicy.notificationsPerChallenge,
            nowMs - challenge.updatedAtMs >= Int64(latencyMs)
        else { return challenge }
        try resend(stored, as: newSID(), pushExpiresAtMs: nil, service: service)
        challenge.notifications += 1
        challenge.updatedAtMs = nowMs
        challenge.quietUntilMs = nil
        return challenge
    }
}

extension Challenge {
    /// Whether this challenge can be returned instead of a new challenge of its action: it has the same contents and
    /// rules, and enough of its life is left for the person to answer.
    func stands(for new: NewChallenge, under rules: ApprovalRules, nowMs: Int64) -> Bool {
        message == new.message && fields == new.fields && hiddenDetails == new.hiddenDetails && factor == new.factor
            && numberDigits == rules.numberDigits && requiresSession == rules.requiresSession
            && expiresAtMs - nowMs >= max(StorePolicy.leastLifeMs, (expiresAtMs - createdAtMs) / 4)
    }
}
