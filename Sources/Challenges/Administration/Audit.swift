public import ChallengeModel
import Wire

extension ChallengeStore {
    /// The audit events, newest first: who changed what and when, and whose calls were refused.
    public func auditEvents(_ filter: AuditFilter, page: PageRequest) async throws -> Page<AuditEvent> {
        try await engine.read { try $0.auditEvents(filter, page: page) }
    }

    /// Writes the audit event of an operator's act that changes nothing in the store, such as a replay of dead letters.
    /// Call it before the act.
    /// - Parameters:
    ///   - action: a stable word, `dead-letters.replay`.
    ///   - subject: what the act was about, at most 64 bytes are stored.
    ///   - actor: who did it, at most 64 bytes are stored.
    public func recordAct(
        _ action: String, account: AccountSID, subject: String, actor: String, nowMs: Int64
    ) async throws {
        try await write(nowMs) { decision in
            try decision.on(behalfOf: ChangeContext(actor: actor)) {
                try decision.audit(action, account: account, subject: subject)
            }
        }
    }

    /// Writes audit events of refusals, each with its count.
    public func recordRefusals(_ refusals: [(mark: RefusalMark, count: Int)], nowMs: Int64) async throws {
        for start in stride(from: 0, to: refusals.count, by: 500) {
            let part = Array(refusals[start..<min(start + 500, refusals.count)])
            try await write(nowMs) { decision in
                for (mark, count) in part {
                    try decision.on(behalfOf: ChangeContext(actor: mark.actor, address: mark.address)) {
                        try decision.audit(
                            mark.action.rawValue, account: mark.account, subject: mark.subject, isTraffic: true,
                            count: count)
                    }
                }
            }
        }
    }
}

extension Decision {
    /// Writes the audit event of a change by ``caller``, in the transaction of the change.
    /// - Parameters:
    ///   - isTraffic: true when the event belongs to one challenge or token. Such an event is kept for the shorter time.
    ///   - details: the members of ``AuditEvent/detail``.
    func audit(
        _ action: String, account: AccountSID, subject: String, isTraffic: Bool = false, count: Int = 1,
        details: [(name: String, value: JSONValue)] = []
    ) throws {
        try rows.insert(
            AuditEvent(
                sid: newSID(), account: account, atMs: nowMs, actor: String(caller.actor.prefix(64)), action: action,
                subject: String(subject.prefix(64)), requestID: caller.requestID,
                address: caller.address.map { String($0.prefix(64)) }, count: count,
                detail: details.isEmpty ? nil : JSONValue.object(details).text),
            isTraffic: isTraffic)
    }

    /// Writes the audit event for an event that reports a change. An event without a caller (an expiry, a provider's
    /// report) gets none.
    func audit(_ type: EventType, account: AccountSID, subject: String) throws {
        switch type {
        case .factorCreated, .factorVerified, .factorUpdated, .factorDeleted:
            try audit(type.rawValue, account: account, subject: subject)
        case .challengeCreated, .challengeApproved, .challengeDenied, .challengeCanceled, .challengeSuperseded:
            try audit(type.rawValue, account: account, subject: subject, isTraffic: true)
        default: break
        }
    }
}
