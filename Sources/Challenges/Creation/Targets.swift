import ChallengeModel

/// The devices that a challenge is addressed to, and the records about changes of these devices.
extension Decision {
    /// The devices of a new challenge, oldest first.
    /// - Throws: `notFound(.factor)`, `factorUnverified`, `noVerifiedFactor`.
    func targets(of entity: EntitySID, named factor: FactorSID?, fallbacks: [String]) throws -> [Factor] {
        if let factor {
            guard let found = try rows.factor(factor, entity: entity) else { throw StoreError.notFound(.factor) }
            guard found.isVerified else { throw StoreError.factorUnverified }
            return [found]
        }
        let found = try rows.verifiedFactors(of: entity)
        guard !found.isEmpty else { throw StoreError.noVerifiedFactor(fallbacks: fallbacks) }
        return found
    }

    /// Reserves background pushes for one challenge and device, and returns their number.
    func grantBackgroundPushes(to factor: Factor, challenge: ChallengeSID) throws -> Int {
        guard factor.platform == .apn, factor.pushToken != nil, factor.unreachableAtMs == nil else { return 0 }
        let sinceMs = nowMs - StorePolicy.backgroundWindowMs
        let budget = StorePolicy.backgroundBudget(
            used: try rows.countBackgroundGrants(of: factor.sid, sinceMs: sinceMs))
        if budget > 0 {
            try rows.insertBackgroundGrant(of: factor.sid, challenge: challenge, sinceMs: sinceMs, nowMs: nowMs)
        }
        return budget
    }

    /// Writes `DeviceChanged` for every live challenge that is addressed to the factor.
    func tellLiveChallenges(of factor: Factor, isGone: Bool) throws {
        let live = try rows.liveTargets(ofFactor: factor.sid, entity: factor.entity, nowMs: nowMs)
        guard !live.isEmpty else { return }
        // A service that is being deleted still names its credentials.
        let service = isGone ? nil : try rows.serviceOrDeleted(factor.service)
        for target in live {
            try deviceChanged(
                factor.sid, of: target.challenge,
                to: service.map { factor.dispatchTarget(of: $0, backgroundBudget: target.backgroundBudget) },
                expiresAtMs: target.expiresAtMs, traceparent: target.traceparent)
        }
    }

    /// Stops the pushes of a person's live challenges: dispatchers and trackers see their devices as removed. Polling
    /// still finds the challenges, and a resend adds the devices again.
    /// - Parameter isQuiet: pushes are already stopped, and stay stopped for longer.
    func silenceLiveChallenges(of entity: EntitySID, untilMs: Int64, isQuiet: Bool) throws {
        if !isQuiet {
            for target in try rows.liveTargets(of: entity, nowMs: nowMs) {
                try deviceChanged(
                    target.factor, of: target.challenge, to: nil, expiresAtMs: target.expiresAtMs,
                    traceparent: target.traceparent)
            }
        }
        try rows.setQuiet(of: entity, untilMs: untilMs, nowMs: nowMs)
    }

    /// The targets of a challenge with their current push tokens, without deleted factors.
    func targetsNow(of challenge: Challenge, service: Service) throws -> [DispatchTarget] {
        try rows.targets(of: challenge.sid).compactMap { target in
            try rows.factor(target.factor)?.dispatchTarget(
                of: service, backgroundBudget: target.backgroundBudget, redelivery: challenge.redelivery)
        }
    }
}

extension Factor {
    /// The device as a target in a dispatch.
    /// - Parameters:
    ///   - backgroundBudget: background pushes that the whole challenge may use on it.
    ///   - redelivery: the challenge's; nil: the record changes nothing about redelivery.
    func dispatchTarget(
        of service: Service, backgroundBudget: Int, redelivery: Redelivery? = nil
    ) -> DispatchTarget {
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
        target.pushOnce = isSilent && redelivery?.requested == false
        // The device is a target and can poll, but nothing is pushed to a dead token.
        if unreachableAtMs != nil {
            target.platform = .noPush
            target.pushToken = ""
        }
        return target
    }
}

extension Service {
    /// The credential for pushes to a platform; nil: there is none.
    func credential(for platform: Platform) -> CredentialSID? {
        switch platform {
        case .apn: apnCredential
        case .fcm: fcmCredential
        case .hms: hmsCredential
        case .webpush: webPushCredential
        default: nil
        }
    }
}
