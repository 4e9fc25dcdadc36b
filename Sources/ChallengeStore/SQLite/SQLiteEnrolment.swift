import ChallengeModel
import GRDB

/// How many devices a person may have: `Push.MaxFactors` and `Push.WhenFull` of the service. What counts are verified ones; a
/// device that enrols anew takes the place of its former self.
extension Database {
    /// Whether one more may be made. Unverified ones are bounded too, and are not in the way of a verification.
    /// - Throws: `factorLimit`.
    func admitFactor(_ new: NewFactor, of entity: EntitySID, policy: ServicePolicy) throws {
        let counts = try row(
            """
            SELECT coalesce(sum(verified = 0), 0), coalesce(sum(verified = 1), 0), \
            coalesce(sum(verified = 1 AND push_token = ? AND platform = ? AND app_id = ?), 0) \
            FROM factors WHERE entity_sid = ?
            """, [new.pushToken, new.platform.rawValue, new.appID, entity.rawValue])
        guard let counts else { return }
        var columns = Columns(counts)
        let (unverified, verified, itself) = (columns.integer(), columns.integer(), columns.integer())
        let others = verified - itself
        switch policy.whenFull {
        case .refuse:
            guard others < policy.maxFactors else { throw StoreError.factorLimit(bound: policy.maxFactors) }
            try requireRoom(others + unverified)
        case .replaceOldest: try requireRoom(unverified)
        }
    }

    private func requireRoom(_ factors: Int) throws(StoreError) {
        guard factors < StorePolicy.factorsPerEntity else { throw .factorLimit(bound: StorePolicy.factorsPerEntity) }
    }

    /// Keeps the bound when a factor is verified: several may have been made while there was room for one.
    /// - Throws: `factorLimit` where the service refuses.
    func makeRoom(for factor: Factor, nowMs: Int64) throws {
        guard let service = try service(factor.service, account: factor.account) else {
            throw StoreError.notFound(.service)
        }
        let others = try rows(
            "SELECT \(Factor.columns) FROM factors WHERE entity_sid = ? AND verified = 1 AND sid <> ? ORDER BY sid",
            [factor.entity.rawValue, factor.sid.rawValue]
        ).map(Factor.init(row:))
        let surplus = others.count - (service.policy.maxFactors - 1)
        guard surplus > 0 else { return }
        guard service.policy.whenFull == .replaceOldest else {
            throw StoreError.factorLimit(bound: service.policy.maxFactors)
        }
        for oldest in others.sorted(by: { $0.createdAtMs < $1.createdAtMs }).prefix(surplus) {
            try delete(oldest, reason: .replaced, nowMs: nowMs)
        }
    }
}
