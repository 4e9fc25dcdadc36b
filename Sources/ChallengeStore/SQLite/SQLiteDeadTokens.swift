import ChallengeModel
import GRDB

/// What outcomes say about push tokens and credentials. All of it counts in the store: several Producers read the outcomes of one
/// credential, and each may be restarted.
extension Database {
    private enum Incident: String {
        /// Too many tokens die at once.
        case dying
        /// The provider refuses the credential.
        case failed
    }

    /// - Parameter outcome: one that was not learned from before.
    func learn(_ outcome: PushOutcome, brake: TokenBrake, nowMs: Int64) throws {
        guard let credential = CredentialSID(outcome.credentialSid) else { return }
        switch outcome.disposition {
        case .accepted where outcome.kind == .visible:
            try count("accepted", of: credential, brake: brake, nowMs: nowMs)
        case .rejected where outcome.cause == .tokenUnknown:
            try count("unknown", of: credential, brake: brake, nowMs: nowMs)
            let sum = try pushes(of: credential, sinceMs: nowMs - StorePolicy.failureWindowMs)
            if sum.accepted == 0, sum.unknown >= brake.minimum {
                try credentialFailed(credential, outcome, nowMs: nowMs)
            }
        case .credentialFault: try credentialFailed(credential, outcome, nowMs: nowMs)
        case .tokenDead: try tokenDied(credential, outcome, brake: brake, nowMs: nowMs)
        default: break
        }
    }

    // MARK: - Dead tokens

    private func tokenDied(
        _ credential: CredentialSID, _ outcome: PushOutcome, brake: TokenBrake, nowMs: Int64
    ) throws {
        if try isDying(credential, brake: brake, nowMs: nowMs) {
            // Where pushes are taken again a single death is a usual one, and there is always one: it does not hold the brake.
            let accepted = try pushes(of: credential, sinceMs: nowMs - StorePolicy.failureWindowMs).accepted
            if accepted < brake.minimum { try extend(.dying, credential, nowMs: nowMs) }
            return
        }
        guard let row = try row("SELECT \(Factor.columns) FROM factors WHERE sid = ?", [outcome.factorSid]) else {
            return
        }
        let factor = try Factor(row: row)
        // Another registration than the one that was pushed to, or one that the provider's word does not reach.
        guard factor.account.rawValue == outcome.accountSid, factor.unreachableAtMs == nil,
            factor.registeredAtMs == outcome.registeredAtMs,
            outcome.tokenDiedAtMs == 0 || outcome.tokenDiedAtMs >= factor.registeredAtMs
        else { return }
        try run(
            "UPDATE factors SET unreachable_ms = ?, unreachable_credential_sid = ?, purge_ms = ? WHERE sid = ?",
            [
                nowMs, credential.rawValue, try purgeTime(of: factor, deadSinceMs: nowMs, brake: brake),
                factor.sid.rawValue,
            ])
        let dead = try integer(
            "SELECT count(*) FROM factors WHERE unreachable_credential_sid = ? AND unreachable_ms > ?",
            [credential.rawValue, nowMs - brake.windowMs])
        let accepted = try pushes(of: credential, sinceMs: nowMs - brake.windowMs).accepted
        guard dead < brake.minimum || dead * 100 < brake.sharePercent * (dead + accepted) else {
            // Not believed, nor are those that led here.
            try run(
                """
                UPDATE factors SET unreachable_ms = NULL, unreachable_credential_sid = NULL, purge_ms = NULL \
                WHERE unreachable_credential_sid = ? AND unreachable_ms > ?
                """, [credential.rawValue, nowMs - brake.windowMs])
            return try open(
                .dying, credential, outcome,
                [
                    "dead_tokens": .integer(dead), "accepted_pushes": .integer(accepted),
                    "window_seconds": .integer(brake.windowMs / 1000),
                ], nowMs: nowMs)
        }
        try emit(
            .factorUnreachable, factor,
            ["reason": .string(String(outcome.reason.prefix(64))), "credential_sid": .string(credential.rawValue)],
            revision: factor.registeredAtMs, nowMs: nowMs)
    }

    /// A new registration: pushed to again.
    func forgetDeath(of factor: FactorSID) throws {
        try run(
            "UPDATE factors SET unreachable_ms = NULL, unreachable_credential_sid = NULL, purge_ms = NULL WHERE sid = ?",
            [factor.rawValue])
    }

    /// When an unreachable factor is to be looked at again.
    private func purgeTime(of factor: Factor, deadSinceMs: Int64, brake: TokenBrake) throws -> Int64 {
        switch try unreachablePolicy(of: factor) {
        // Not before it is clear whether the brake holds.
        case .atOnce: return deadSinceMs + brake.windowMs
        case .after30Days, .never: return max(deadSinceMs, factor.signedAtMs) + StorePolicy.unreachableKeptMs
        }
    }

    private func unreachablePolicy(of factor: Factor) throws -> ServicePolicy.UnreachableFactors {
        try row("SELECT \(Service.columns) FROM services WHERE sid = ?", [factor.service.rawValue])
            .map(Service.init(row:))?.policy.unreachableFactors ?? .after30Days
    }

    func hasUnreachableToPurge(nowMs: Int64) throws -> Bool {
        try exists("SELECT 1 FROM factors WHERE purge_ms <= ? LIMIT 1", [nowMs])
    }

    /// Deletes factors whose push token has been dead for as long as their service says, by its policy as it is now. A token of
    /// a credential whose tokens are dying waits.
    func purgeUnreachable(limit: Int, brake: TokenBrake, nowMs: Int64) throws {
        let due = try rows(
            """
            SELECT \(Factor.columns), unreachable_credential_sid FROM factors WHERE purge_ms <= ? \
            ORDER BY purge_ms LIMIT ?
            """, [nowMs, limit])
        for row in due {
            let factor = try Factor(row: row)
            let credential = (row["unreachable_credential_sid"] as String?).flatMap { CredentialSID($0) }
            var next: Int64?
            if let credential, try isDying(credential, brake: brake, nowMs: nowMs) {
                next = nowMs + brake.windowMs
            } else if let deadSince = factor.unreachableAtMs {
                let time = try purgeTime(of: factor, deadSinceMs: deadSince, brake: brake)
                if try unreachablePolicy(of: factor) == .never {
                    next = nowMs + StorePolicy.unreachableKeptMs
                } else if time > nowMs {
                    next = time
                }
            }
            if let next {
                try run("UPDATE factors SET purge_ms = ? WHERE sid = ?", [next, factor.sid.rawValue])
            } else {
                try delete(factor, reason: .unreachable, nowMs: nowMs)
            }
        }
    }

    // MARK: - Credentials

    private func credentialFailed(_ credential: CredentialSID, _ outcome: PushOutcome, nowMs: Int64) throws {
        let known = try row(
            "SELECT last_ms, accepted_ms FROM credential_incidents WHERE credential_sid = ? AND kind = ?",
            [credential.rawValue, Incident.failed.rawValue])
        if let known {
            // Over when a push was accepted since and some time has passed: workers learn of a mended credential one by one.
            let (lastMs, acceptedMs) = (known[0] as Int64, known[1] as Int64)
            guard acceptedMs > lastMs, lastMs <= nowMs - StorePolicy.failureWindowMs else {
                return try extend(.failed, credential, nowMs: nowMs)
            }
        }
        try open(.failed, credential, outcome, ["reason": .string(String(outcome.reason.prefix(64)))], nowMs: nowMs)
    }

    // MARK: - Incidents and counts

    private func isDying(_ credential: CredentialSID, brake: TokenBrake, nowMs: Int64) throws -> Bool {
        try exists(
            "SELECT 1 FROM credential_incidents WHERE credential_sid = ? AND kind = ? AND last_ms > ?",
            [credential.rawValue, Incident.dying.rawValue, nowMs - brake.windowMs])
    }

    private func extend(_ incident: Incident, _ credential: CredentialSID, nowMs: Int64) throws {
        // Once a second: an incident may have thousands of these.
        try run(
            "UPDATE credential_incidents SET last_ms = ? WHERE credential_sid = ? AND kind = ? AND last_ms < ?",
            [nowMs, credential.rawValue, incident.rawValue, nowMs - 1000])
    }

    /// One event for all that follows until the incident is over. Of a credential that was deleted nobody wants to know.
    private func open(
        _ incident: Incident, _ credential: CredentialSID, _ outcome: PushOutcome, _ more: [String: EventValue],
        nowMs: Int64
    ) throws {
        try run(
            "INSERT OR REPLACE INTO credential_incidents (credential_sid, kind, since_ms, last_ms) VALUES (?, ?, ?, ?)",
            [credential.rawValue, incident.rawValue, nowMs, nowMs])
        guard let account = AccountSID(outcome.accountSid),
            let row = try row(
                "SELECT type FROM credentials WHERE sid = ? AND account_sid = ?",
                [credential.rawValue, account.rawValue])
        else { return }
        let type: EventType = incident == .dying ? .tokensDying : .credentialFailed
        let data: [String: EventValue] = [
            "account_sid": .string(account.rawValue), "service_sid": .string(outcome.serviceSid),
            "credential_sid": .string(credential.rawValue), "credential_type": .string(row[0]),
        ]
        try emit(
            type, account: account, service: outcome.serviceSid, subject: credential.rawValue,
            id: "\(credential)/\(type.rawValue)/\(nowMs)", data: data.merging(more) { $1 }, nowMs: nowMs)
    }

    private func pushes(of credential: CredentialSID, sinceMs: Int64) throws -> (accepted: Int64, unknown: Int64) {
        let row = try row(
            """
            SELECT coalesce(sum(accepted), 0), coalesce(sum(unknown), 0) FROM credential_minutes \
            WHERE credential_sid = ? AND minute > ?
            """, [credential.rawValue, sinceMs / 60_000])
        return row.map { ($0[0], $0[1]) } ?? (0, 0)
    }

    private func count(_ column: String, of credential: CredentialSID, brake: TokenBrake, nowMs: Int64) throws {
        let minute = nowMs / 60_000
        let isAccepted = column == "accepted"
        if try changes(
            isAccepted
                ? "UPDATE credential_minutes SET accepted = accepted + 1 WHERE credential_sid = ? AND minute = ?"
                : "UPDATE credential_minutes SET unknown = unknown + 1 WHERE credential_sid = ? AND minute = ?",
            [credential.rawValue, minute])
        {
            if isAccepted { try accepted(by: credential, nowMs: nowMs) }
            return
        }
        try run(
            "INSERT INTO credential_minutes (credential_sid, minute, accepted, unknown) VALUES (?, ?, ?, ?)",
            [credential.rawValue, minute, isAccepted ? 1 : 0, isAccepted ? 0 : 1])
        try run(
            "DELETE FROM credential_minutes WHERE credential_sid = ? AND minute < ?",
            [credential.rawValue, (nowMs - brake.windowMs) / 60_000])
        if isAccepted { try accepted(by: credential, nowMs: nowMs) }
    }

    /// Once a second at most.
    private func accepted(by credential: CredentialSID, nowMs: Int64) throws {
        try run(
            "UPDATE credential_incidents SET accepted_ms = ? WHERE credential_sid = ? AND kind = ? AND accepted_ms < ?",
            [nowMs, credential.rawValue, Incident.failed.rawValue, nowMs - 1000])
    }
}
