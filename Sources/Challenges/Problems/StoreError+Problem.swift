extension Problem {
    /// What the store's refusal means to a caller.
    package init(_ error: StoreError) {
        switch error {
        case .notFound(.factor):
            self.init(.notFound, "The requested resource was not found: no such factor of this identity")
        case .notFound: self.init(.notFound, Self.notFound)
        case .conflict(.factor):
            self.init(.factorExists, "A factor of this key or secret exists already for this identity")
        case .conflict: self.init(.entityExists, "The service already has an entity with this Identity")
        case .factorLimit(let bound):
            self.init(.factorLimit, "The identity has \(bound) push factors, which is the maximum: delete one first")
        case .limit(.notifications):
            let count = StorePolicy.notificationsPerChallenge
            self.init(.notificationLimit, "The challenge was resent \(count) times, which is the maximum")
        case .limit(.codeFactors):
            let count = StorePolicy.codeFactorsPerEntity
            self.init(.factorLimit, "The identity has \(count) totp factors, which is the maximum: delete one first")
        case .limit(.factorCreations):
            let count = StorePolicy.factorCreationsPerDay
            self.init(
                .factorCreations, "\(count) factors were made for the identity within a day, the most there may be")
        case .limit(.factorAttempts):
            self.init(.factorAttempts, "Five wrong codes were sent for the factor: create a new factor")
        case .limit(.challengeAttempts):
            self.init(.challengeAttempts, "Five wrong codes were sent for the challenge: create a new challenge")
        case .limit(.challengeCreations):
            self.init(
                .challengeCreations, "Too many challenges were created for the factor within an hour or a day: wait")
        case .limit(.entityCreations):
            self.init(
                .entityCreations, "Too many entities were created for the account within a second",
                retryAfterSeconds: 1)
        case .limit(.webhooks):
            let count = StorePolicy.webhooksPerService
            self.init(.invalidParameter, "The service has \(count) webhooks, which is the maximum: delete one first")
        case .codeRefused:
            self.init(.answerRefused, "Challenge verification failed: the code is wrong, or was already used")
        case .limit(.keys):
            let count = StorePolicy.keysPerAccount
            self.init(.invalidParameter, "The account has \(count) API keys, which is the maximum")
        case .tokenReplayed:
            self.init(.invalidToken, "Invalid token: it was already used for another request; sign a new one")
        case .accessTokenRefused:
            self.init(
                .factorCreationRefused,
                "Unauthorized factor creation: the access token is unknown, expired, used up, or was created for another "
                    + "service or identity")
        case .factorUnverified:
            self.init(.factorUnverified, "The factor is not verified: the device must verify it first")
        case .noCodeFactor:
            self.init(.factorUnverified, "The identity has no verified factor of type totp: create one first")
        case .noVerifiedFactor(let fallbacks):
            let instead = fallbacks.isEmpty ? "" : "; fall back to " + fallbacks.joined(separator: ", ")
            self.init(.factorUnverified, "The identity has no verified push factor\(instead)")
        case .factorRequired: self.init(RuleViolation.factorRequired)
        case .loosened(let rule): self.init(rule.violation)
        case .approvalRefused(let refusal): self.init(refusal)
        case .limited(let refusal): self.init(refusal)
        case .noPush(.codeFactor):
            self.init(.noPushPlatform, "The factor is of type totp: nothing is pushed to it")
        case .noPush(.noPlatform):
            self.init(.noPushPlatform, "The factor's notification platform is none: the app polls")
        case .idempotencyConflict:
            self.init(
                .idempotencyKeyUsed,
                "\(Self.idempotencyKey): it was used for a request with other parameters within 24 hours")
        case .nulInText:
            self.init(.malformed, "A text holds the control character U+0000: expected texts without it")
        case .requestClosed: self.init(.notFound, "The request was rejected before, or its challenge was deleted")
        case .repeated: self.init(.unavailable, "Busy: the same request is in progress", retryAfterSeconds: 1)
        case .alreadyResponded: self.init(.alreadyResponded, "The challenge was already answered")
        case .alreadyExpired: self.init(.alreadyExpired, "The challenge has expired")
        case .busy, .closed:
            self.init(.unavailable, "Busy: nothing was done, retry", retryAfterSeconds: 1)
        case .unavailable(let fault) where fault.mayBeDone:
            self.init(
                .unavailable,
                "The store has not said whether the change was made: look, or repeat the request with the same Idempotency-Key",
                retryAfterSeconds: 5)
        case .unavailable(let fault):
            self.init(
                .unavailable, "The store cannot write at the moment: nothing was done, retry",
                retryAfterSeconds: fault.cause == .locked ? 1 : 5)
        case .failed: self.init(.internalError, "Internal error")
        }
    }
}

extension RuleViolation {
    package static let factorRequired = ChallengeRules.violation(
        .factor, "the SID of a factor, it is required: the service has Push.FanOut=false")
}

extension ApprovalRule {
    /// Of a creation that asks for less.
    package var violation: RuleViolation {
        switch self {
        case .number:
            ChallengeRules.violation(
                .numberMatching, "true, or no value: the service has Push.NumberMatching=required")
        case .numberDigits: ChallengeRules.violation(.numberDigits, "at least the service's Push.NumberDigits")
        case .session:
            ChallengeRules.violation(.requireSession, "true, or no value: the service has Push.RequireSession=true")
        }
    }
}
