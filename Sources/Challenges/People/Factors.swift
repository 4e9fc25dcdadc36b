public import ChallengeModel

extension ChallengeStore {
    /// - Parameter accessToken: the token that the device sent; nil when the backend enrols. It is checked in the same
    ///   transaction.
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

    /// Finds a factor by the `kid` of a device's JWT, which is unique per factor.
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

    /// Makes all changes of one request in one transaction. A changed push token is written as `DeviceChanged` for the
    /// live challenges. A verified factor replaces other factors with the same push token, platform and app. A repeated
    /// request of a device changes nothing.
    /// - Parameter isProven: true when the device has proven that it holds the key. The factor then becomes `verified`,
    ///   and its access token is used up.
    /// - Throws: `notFound(.factor)`, `factorLimit` when one more verified factor is not allowed.
    public func updateFactor(
        _ sid: FactorSID, isProven: Bool, _ change: FactorChange, nowMs: Int64
    ) async throws -> Factor {
        try await write(nowMs) { decision in
            let person = try decision.rows.lockedPerson(ofFactor: sid)
            guard let factor = try decision.rows.factor(sid) else { throw StoreError.notFound(.factor) }
            // This is a repeated request whose reply was lost. Changes since the first one are kept.
            guard !decision.caller.isRepeated else { return factor }
            // The changed values decide which factors this factor replaces.
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

/// The reason of a deletion, as in the event `factor.deleted`.
enum FactorDeletion: String {
    case requested
    /// Another factor was verified with its push token, platform and app, or replaced it because the limit was reached.
    case replaced
    case entityDeleted = "entity-deleted"
    case neverVerified = "never-verified"
    /// Its access token was used up by another factor.
    case tokenSpent = "token-spent"
    /// Its push token was dead for the time that the service allows.
    case unreachable
}

extension Decision {
    /// Deletes a factor and tells the live challenges that are addressed to it.
    func delete(_ factor: Factor, reason: FactorDeletion) throws {
        try tellLiveChallenges(of: factor, isGone: true)
        try rows.delete(factor.sid)
        try emit(.factorDeleted, .push(factor), ["reason": .string(reason.rawValue)])
    }

    /// - Parameter person: the owner of the factor, locked.
    /// - Returns: the factor after the change.
    func apply(_ change: FactorChange, to former: Factor, of person: Person?) throws -> Factor {
        var factor = former
        factor.apply(change)
        // A device that sends a push token has just received it from the system, even when it equals the dead token.
        if change.pushToken != nil || !factor.hasRegistration(of: former) { factor.unreachableAtMs = nil }
        guard factor != former else { return former }
        factor.updatedAtMs = nowMs
        let isRegisteredAnew =
            !factor.hasRegistration(of: former) || factor.unreachableAtMs != former.unreachableAtMs
        if isRegisteredAnew { factor.registeredAtMs = nowMs }
        let revision = try rows.update(factor)
        if isRegisteredAnew {
            // A new registration gets pushes again.
            try rows.markReachable(factor.sid)
            // A factor that was verified without a push token can be recognised as the same device only now.
            if factor.isVerified { try replaceFormerSelves(of: factor) }
            // While the person is quiet, this record would start the pushes to the device again.
            if try !isQuiet(person) { try tellLiveChallenges(of: factor, isGone: false) }
        }
        try emit(.factorUpdated, .push(factor), revision: revision)
        // For an unverified factor, its verification emits the event.
        if factor.isVerified, factor.notificationsEnabled == false, former.notificationsEnabled != false {
            try emit(.factorNotificationsDisabled, .push(factor), revision: revision)
        }
        return factor
    }

    private func isQuiet(_ person: Person?) throws -> Bool {
        guard var person else { return false }
        return try quietUntilMs(of: &person) != nil
    }

    /// - Returns: the verified factor; unchanged when it was verified before.
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

    /// A verified factor replaces every other factor of the same app on the same device, recognised by the push token.
    private func replaceFormerSelves(of factor: Factor) throws {
        guard let token = factor.pushToken else { return }
        for other in try rows.verifiedFactors(of: factor.entity)
        where other.sid != factor.sid && other.pushToken == token && other.platform == factor.platform
            && other.appID == factor.appID
        {
            // The same app on the same device still sends receipts.
            if !other.isSilent { try rows.noteReceipt(of: factor.sid) }
            try delete(other, reason: .replaced)
        }
    }

    /// Ends the access token that created a factor, and deletes the other unverified factors of the same phone.
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

    /// Whether a provider would see the same device and app.
    fileprivate func hasRegistration(of other: Factor) -> Bool {
        platform == other.platform && pushToken == other.pushToken && appID == other.appID
            && environment == other.environment
    }
}
