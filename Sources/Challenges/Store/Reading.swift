public import ChallengeModel

/// Reads challenges. ``ChallengeStore/create(_:nowMs:)`` creates them.
extension ChallengeStore {
    /// - Parameter factor: when not nil, only a challenge that is addressed to this factor is found.
    public func challenge(
        _ sid: ChallengeSID, account: AccountSID, service: ServiceSID, identity: String, factor: FactorSID?
    ) async throws -> Challenge? {
        try await engine.read { rows in
            guard let entity = try rows.entity(account: account, service: service, identity: identity),
                let challenge = try rows.challenge(sid)?.challenge, challenge.entity == entity.sid
            else { return nil }
            if let factor, try !rows.isTarget(factor, of: sid) { return nil }
            return challenge
        }
    }

    /// Finds a challenge of any account. Used for receipts that a provider signs, because they name only the challenge.
    public func challenge(_ sid: ChallengeSID) async throws -> Challenge? {
        try await engine.read { try $0.challenge(sid)?.challenge }
    }

    public func challenges(
        _ filter: ChallengeFilter, page: PageRequest, nowMs: Int64
    ) async throws -> Page<Challenge> {
        try await engine.read { rows in
            guard
                let entity = try rows.entity(
                    account: filter.account, service: filter.service, identity: filter.identity)
            else { return Page(items: [], next: nil) }
            return try rows.challenges(filter, entity: entity.sid, page: page, nowMs: nowMs)
        }
    }
}
