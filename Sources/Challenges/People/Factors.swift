public import ChallengeModel

extension ChallengeStore {
    /// - Parameter accessToken: what the device sent; nil when the backend enrols. Checked in the same transaction.
    /// - Throws: `accessTokenRefused`, `conflict(.factor)` for the same public key, `factorLimit`.
    public func createFactor(_ new: NewFactor, accessToken: String?, nowMs: Int64) async throws -> Factor {
        let sid = FactorSID.generate(variant: 0x03, nowMs: nowMs)
        return try await write(nowMs) { try $0.enrol(new, as: sid, accessToken: accessToken) }
    }

    public func factor(
        _ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> Factor? {
        try await engine.read { rows in
            guard let entity = try rows.entity(account: account, service: service, identity: identity) else {
                return nil
            }
            return try rows.factor(sid, entity: entity.sid)
        }
    }

    /// By the `kid` of a device's JWT, which is unique per factor.
    public func factor(keyID: String) async throws -> Factor? {
        try await engine.read { rows in
            guard let factor = try rows.factor(keyID: keyID),
                try rows.service(factor.service, account: factor.account) != nil
            else { return nil }
            return factor
        }
    }

    public func factors(
        account: AccountSID, service: ServiceSID, identity: String, page: PageRequest
    ) async throws -> Page<Factor> {
        try await engine.read { rows in
            guard let entity = try rows.entity(account: account, service: service, identity: identity) else {
                return Page(items: [], next: nil)
            }
            return try rows.factors(entity: entity.sid, page: page)
        }
    }

    /// What one request asks for, in one transaction. A changed push token reaches the live challenges as `DeviceChanged`. A verified
    /// factor takes the place of others with its push token, platform and app. A device's request that was done before changes
    /// nothing more.
    /// - Parameter isProven: the device has shown that the key is its own: `unverified` to `verified`, and its access token is spent.
    /// - Throws: `notFound(.factor)`, `factorLimit` when there is no room for one more that is verified.
    public func updateFactor(
        _ sid: FactorSID, isProven: Bool, _ change: FactorChange, nowMs: Int64
    ) async throws -> Factor {
        try await write(nowMs) { decision in
            let person = try decision.rows.lockedPerson(ofFactor: sid)
            guard let factor = try decision.rows.factor(sid) else { throw StoreError.notFound(.factor) }
            // The same request again, because its reply was lost: what was changed since then stands.
            guard !decision.caller.isRepeated else { return factor }
            // Whom the factor replaces is told by what it has with its change.
            let changed = try decision.apply(change, to: factor, of: person)
            return isProven ? try decision.verify(changed) : changed
        }
    }

    public func verifyFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Factor {
        try await updateFactor(sid, isProven: true, FactorChange(), nowMs: nowMs)
    }

    public func updateFactor(_ sid: FactorSID, _ change: FactorChange, nowMs: Int64) async throws -> Factor {
        try await updateFactor(sid, isProven: false, change, nowMs: nowMs)
    }

    public func deleteFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool {
        try await write(nowMs) { decision in
            _ = try decision.rows.lockedPerson(ofFactor: sid)
            guard let factor = try decision.rows.factor(sid) else { return false }
            try decision.delete(factor, reason: .requested)
            return true
        }
    }
}

/// Why a factor went, as `factor.deleted` says it.
enum FactorDeletion: String {
    case requested
    /// Another one was verified with its push token, platform and app, or for want of room in its place.
    case replaced
    case entityDeleted = "entity-deleted"
    case neverVerified = "never-verified"
    /// Its access token was spent on another factor.
    case tokenSpent = "token-spent"
    /// Its push token was dead for as long as the service allows.
    case unreachable
}

extension Decision {
    /// Deletes a factor and tells the live challenges that are addressed to it.
    func delete(_ factor: Factor, reason: FactorDeletion) throws {
        try tellLiveChallenges(of: factor, isGone: true)
        try rows.delete(factor.sid)
        try emit(.factorDeleted, .push(factor), ["reason": .string(reason.rawValue)])
    }

    /// - Parameter person: whose factor it is, locked.
    /// - Returns: the factor as it is now, unchanged when it was so before.
    func apply(_ change: FactorChange, to former: Factor, of person: Person?) throws -> Factor {
        var factor = former
        factor.apply(change)
        // Whoever sends a push token has it from the system now, also when it is the one that was dead.
        if change.pushToken != nil || !factor.hasRegistration(of: former) { factor.unreachableAtMs = nil }
        guard factor != former else { return former }
        factor.updatedAtMs = nowMs
        let isRegisteredAnew =
            !factor.hasRegistration(of: former) || factor.unreachableAtMs != former.unreachableAtMs
        if isRegisteredAnew { factor.registeredAtMs = nowMs }
        let revision = try rows.update(factor)
        if isRegisteredAnew {
            // A new registration is pushed to again.
            try rows.markReachable(factor.sid)
            // One that was verified without its push token is known for the same device by it now.
            if factor.isVerified { try replaceFormerSelves(of: factor) }
            // While nothing is pushed it would bring back a device that was silenced.
            if try !isQuiet(person) { try tellLiveChallenges(of: factor, isGone: false) }
        }
        try emit(.factorUpdated, .push(factor), revision: revision)
        // Of one that is not verified its verification tells it.
        if factor.isVerified, factor.notificationsEnabled == false, former.notificationsEnabled != false {
            try emit(.factorNotificationsDisabled, .push(factor), revision: revision)
        }
        return factor
    }

    private func isQuiet(_ person: Person?) throws -> Bool {
        guard var person else { return false }
        return try quietUntilMs(of: &person) != nil
    }

    /// - Returns: the factor as it is now, unchanged when it was verified before.
    func verify(_ factor: Factor) throws -> Factor {
        if factor.isVerified { return factor }
        guard factor.createdAtMs > nowMs - StorePolicy.unverifiedLifeMs else { throw StoreError.notFound(.factor) }
        var factor = factor
        factor.isVerified = true
        factor.updatedAtMs = nowMs
        try rows.markVerified(factor.sid, nowMs: nowMs)
        try spendAccessToken(of: factor.sid)
        try replaceFormerSelves(of: factor)
        try makeRoom(for: factor)
        let others = try rows.verifiedFactors(of: factor.entity).count { $0.sid != factor.sid }
        try emit(.factorVerified, .push(factor), ["other_factors": .integer(Int64(others))])
        if factor.notificationsEnabled == false {
            try emit(.factorNotificationsDisabled, .push(factor), revision: 0)
        }
        return factor
    }

    /// A verified factor takes the place of every other one that is the same app on the same device, by its push token.
    private func replaceFormerSelves(of factor: Factor) throws {
        guard let token = factor.pushToken else { return }
        for other in try rows.verifiedFactors(of: factor.entity)
        where other.sid != factor.sid && other.pushToken == token && other.platform == factor.platform
            && other.appID == factor.appID
        {
            try delete(other, reason: .replaced)
        }
    }

    /// The token that made a factor is of no more use, nor are the other tries of the same phone.
    private func spendAccessToken(of factor: FactorSID) throws {
        guard let token = try rows.accessToken(ofFactor: factor) else { return }
        try rows.spend(token)
        for other in try rows.unverifiedFactors(madeWith: token) { try delete(other, reason: .tokenSpent) }
    }
}

extension Factor {
    fileprivate mutating func apply(_ change: FactorChange) {
        friendlyName = change.friendlyName ?? friendlyName
        platform = change.platform ?? platform
        pushToken = platform == .noPush ? nil : change.pushToken ?? pushToken
        appID = change.appID ?? appID
        environment = change.environment ?? environment
        sdkVersion = change.sdkVersion ?? sdkVersion
        notificationsEnabled = change.notificationsEnabled ?? notificationsEnabled
    }

    /// A provider would see the same device and app.
    fileprivate func hasRegistration(of other: Factor) -> Bool {
        platform == other.platform && pushToken == other.pushToken && appID == other.appID
            && environment == other.environment
    }
}
