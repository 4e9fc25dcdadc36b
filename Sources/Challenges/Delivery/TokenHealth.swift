import ChallengeModel

/// Learns from outcomes about push tokens and credentials. All counters are in the store, because several Producers
/// read the outcomes of one credential, and each may restart.
extension Decision {
    private var brake: TokenBrake { rules.brake }

    /// - Parameter outcome: an outcome that was not processed before.
    func learn(_ outcome: PushOutcome) throws {
        guard let credential = CredentialSID(outcome.credentialSid) else { return }
        switch outcome.disposition {
        case .accepted where outcome.kind == .visible:
            try count(PushCounts(accepted: 1), of: credential)
            // Written at most once a second.
            try rows.noteAccepted(.failed, of: credential, unlessSinceMs: nowMs - 1000, nowMs: nowMs)
        case .rejected where outcome.cause == .tokenUnknown:
            try rows.lock(credential)
            try count(PushCounts(unknown: 1), of: credential)
            let sum = try pushes(of: credential, withinMs: StorePolicy.failureWindowMs)
            if sum.accepted == 0, sum.unknown >= brake.minimum { try credentialFailed(credential, outcome) }
        case .credentialFault:
            try rows.lock(credential)
            try credentialFailed(credential, outcome)
        case .tokenDead: try tokenDied(credential, outcome)
        default: break
        }
    }

    // MARK: - Dead tokens

    private func tokenDied(_ credential: CredentialSID, _ outcome: PushOutcome) throws {
        let sid = FactorSID(outcome.factorSid)
        if let sid { _ = try rows.lockedPerson(ofFactor: sid) }
        // Tokens of one credential die one after the other, so that one of them is the one too many.
        try rows.lock(credential)
        if try isDying(credential) {
            // While the provider accepts pushes again, single dead tokens are normal and do not prolong the incident.
            let accepted = try pushes(of: credential, withinMs: StorePolicy.failureWindowMs).accepted
            if accepted < brake.minimum {
                try extend(.dying, credential)
                try alert(about: credential, .dying, outcome)
            }
            return
        }
        guard let sid, let factor = try rows.factor(sid) else { return }
        // Ignored: the push went to another registration, or the provider's report is older than this one.
        guard factor.account.rawValue == outcome.accountSid, factor.unreachableAtMs == nil,
            factor.registeredAtMs == outcome.registeredAtMs,
            outcome.tokenDiedAtMs == 0 || outcome.tokenDiedAtMs >= factor.registeredAtMs
        else { return }
        try rows.markUnreachable(
            sid, atMs: nowMs, credential: credential, purgeAtMs: try purgeTime(of: factor, deadSinceMs: nowMs))
        let dead = try rows.countUnreachable(under: credential, sinceMs: nowMs - brake.windowMs)
        let accepted = try pushes(of: credential, withinMs: brake.windowMs).accepted
        guard dead < brake.minimum || dead * 100 < brake.sharePercent * (dead + accepted) else {
            // This report is not believed, and neither are the reports of the same window before it.
            try rows.markReachable(under: credential, sinceMs: nowMs - brake.windowMs)
            try open(
                .dying, credential, outcome,
                [
                    "dead_tokens": .integer(dead), "accepted_pushes": .integer(accepted),
                    "window_seconds": .integer(brake.windowMs / 1000),
                ])
            return try alert(about: credential, .dying, outcome)
        }
        try emit(
            .factorUnreachable, .push(factor),
            ["reason": .string(String(outcome.reason.prefix(64))), "credential_sid": .string(credential.rawValue)],
            revision: factor.registeredAtMs)
    }

    /// The time at which an unreachable factor is checked for deletion.
    private func purgeTime(of factor: Factor, deadSinceMs: Int64) throws -> Int64 {
        switch try unreachablePolicy(of: factor) {
        // Not before it is clear whether the token is believed to be dead.
        case .atOnce: deadSinceMs + brake.windowMs
        case .after30Days, .never: max(deadSinceMs, factor.signedAtMs) + StorePolicy.unreachableKeptMs
        }
    }

    private func unreachablePolicy(of factor: Factor) throws -> ServicePolicy.UnreachableFactors {
        try rows.serviceOrDeleted(factor.service)?.policy.unreachableFactors ?? .after30Days
    }

    /// Deletes factors whose push token has been dead for the time that the current policy of their service sets.
    /// Factors wait while the tokens of their credential are dying.
    func purgeUnreachable(limit: Int) throws {
        for (found, credential) in try rows.factorsToPurge(untilMs: nowMs, limit: limit) {
            // Read again under the lock, because the factor may have a new registration.
            guard let factor = try rows.factor(found.sid), factor.unreachableAtMs == found.unreachableAtMs,
                factor.registeredAtMs == found.registeredAtMs
            else { continue }
            if let next = try nextPurge(of: factor, under: credential) {
                try rows.setPurge(factor.sid, atMs: next)
            } else {
                try delete(factor, reason: .unreachable)
            }
        }
    }

    /// The time of the next check; nil: the factor is deleted now.
    private func nextPurge(of factor: Factor, under credential: CredentialSID?) throws -> Int64? {
        if let credential, try isDying(credential) { return nowMs + brake.windowMs }
        guard let deadSince = factor.unreachableAtMs else { return nil }
        if try unreachablePolicy(of: factor) == .never { return nowMs + StorePolicy.unreachableKeptMs }
        let time = try purgeTime(of: factor, deadSinceMs: deadSince)
        return time > nowMs ? time : nil
    }

    // MARK: - Credentials

    private func credentialFailed(_ credential: CredentialSID, _ outcome: PushOutcome) throws {
        if let known = try rows.incident(.failed, of: credential) {
            // The incident is over when a push was accepted after it and some time has passed, because workers learn
            // about a corrected credential one by one.
            guard known.acceptedMs > known.lastMs, known.lastMs <= nowMs - StorePolicy.failureWindowMs else {
                try extend(.failed, credential)
                return try alert(about: credential, .failed, outcome)
            }
        }
        try open(.failed, credential, outcome, ["reason": .string(String(outcome.reason.prefix(64)))])
        try alert(about: credential, .failed, outcome)
    }

    private func isDying(_ credential: CredentialSID) throws -> Bool {
        guard let incident = try rows.incident(.dying, of: credential) else { return false }
        return incident.lastMs > nowMs - brake.windowMs
    }

    private func extend(_ kind: IncidentKind, _ credential: CredentialSID) throws {
        // At most once a second, because an incident may have thousands of these outcomes.
        try rows.extendIncident(kind, of: credential, unlessSinceMs: nowMs - 1000, nowMs: nowMs)
    }

    /// Opens an incident with one event. Later faults until its end emit none. A deleted credential emits no event.
    private func open(
        _ kind: IncidentKind, _ credential: CredentialSID, _ outcome: PushOutcome, _ more: [String: EventValue]
    ) throws {
        try rows.openIncident(kind, of: credential, nowMs: nowMs)
        guard let account = AccountSID(outcome.accountSid),
            let known = try rows.credential(credential, account: account)
        else { return }
        let type: EventType = kind == .dying ? .tokensDying : .credentialFailed
        let data: [String: EventValue] = [
            "account_sid": .string(account.rawValue), "service_sid": .string(outcome.serviceSid),
            "credential_sid": .string(credential.rawValue), "credential_type": .string(known.type),
        ]
        try emit(
            type, account: account, service: outcome.serviceSid, subject: credential.rawValue,
            id: "\(credential)/\(type.rawValue)/\(nowMs)", data: data.merging(more) { $1 })
    }

    private func pushes(of credential: CredentialSID, withinMs: Int64) throws -> PushCounts {
        try rows.pushCounts(of: credential, afterMinute: (nowMs - withinMs) / 60_000)
    }

    private func count(_ counts: PushCounts, of credential: CredentialSID) throws {
        if try rows.add(counts, to: nowMs / 60_000, of: credential) {
            try rows.deletePushCounts(of: credential, beforeMinute: (nowMs - brake.windowMs) / 60_000)
        }
    }
}
