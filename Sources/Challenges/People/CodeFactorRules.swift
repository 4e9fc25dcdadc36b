public import ChallengeModel

extension ChallengeStore {
    /// Creates a code factor. Its secret is sealed at rest and never returned again.
    /// - Throws: `notFound(.service)`, `conflict(.factor)` when another factor of the identity has the same secret,
    ///   `limit(.codeFactors)` at 100 factors, `limit(.factorCreations)` at 100 creations in a day.
    public func createCodeFactor(_ new: NewCodeFactor, nowMs: Int64) async throws -> CodeFactor {
        let sid = FactorSID.generate(variant: FactorSID.codeVariant, nowMs: nowMs)
        return try await write(nowMs) { try $0.enrol(new, as: sid) }
    }

    public func codeFactor(
        _ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> CodeFactor? {
        try await engine.read { rows in
            guard let entity = try rows.entity(account: account, service: service, identity: identity) else {
                return nil
            }
            return try rows.codeFactor(sid, entity: entity.sid)
        }
    }

    /// Verifies a factor by its first code. A correct code of a verified factor changes nothing, but it is used up.
    /// - Throws: `codeRefused`, `limit(.factorAttempts)` after 5 wrong ones, `notFound(.factor)`.
    public func verifyCodeFactor(_ sid: FactorSID, code: String, nowMs: Int64) async throws -> CodeFactor {
        // A wrong code is counted, so its transaction must be committed. Therefore the refusal is returned as a value,
        // and thrown afterwards.
        let result: Result<CodeFactor, StoreError> = try await write(nowMs) { try $0.verifyCodeFactor(sid, code: code) }
        return try result.get()
    }

    public func updateCodeFactor(
        _ sid: FactorSID, _ change: CodeFactorChange, nowMs: Int64
    ) async throws -> CodeFactor {
        try await write(nowMs) { try $0.updateCodeFactor(sid, change) }
    }

    public func deleteCodeFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool {
        try await write(nowMs) { decision in
            _ = try decision.rows.lockedPerson(ofFactor: sid)
            guard let factor = try decision.rows.codeFactor(sid) else { return false }
            try decision.delete(factor, reason: .requested)
            return true
        }
    }

    /// The factors of both types, in order of creation.
    public func allFactors(
        account: AccountSID, service: ServiceSID, identity: String, page: PageRequest
    ) async throws -> Page<AnyFactor> {
        try await engine.read { rows in
            guard let entity = try rows.entity(account: account, service: service, identity: identity) else {
                return Page(items: [], next: nil)
            }
            return try rows.allFactors(entity: entity.sid, page: page)
        }
    }
}

extension Decision {
    fileprivate func enrol(_ new: NewCodeFactor, as sid: FactorSID) throws -> CodeFactor {
        let existing = try lockPlace(account: new.account, service: new.service, identity: new.identity)
        try requireService(new.service, account: new.account)
        if existing == nil, EntitySID(new.identity) != nil { throw StoreError.notFound(.entity) }
        let entity =
            try existing?.entity
            ?? insertEntity(account: new.account, service: new.service, identity: new.identity)
        try pruneUnverifiedCodes(of: entity.sid, limit: 100)
        let others = try rows.codeSecrets(of: entity.sid)
        guard others.count < StorePolicy.codeFactorsPerEntity else { throw StoreError.limit(.codeFactors) }
        for (other, secret) in others {
            guard try rules.open(secret, Self.codeContext(new.account, other)) != new.secret else {
                throw StoreError.conflict(.factor)
            }
        }
        try countFactorCreation(sid, of: entity.sid)
        let factor = CodeFactor(
            sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
            friendlyName: new.friendlyName, isVerified: false, code: new.code, metadata: new.metadata,
            createdAtMs: nowMs, updatedAtMs: nowMs)
        let sealed = try rules.seal(new.secret, Self.codeContext(new.account, sid))
        try noteSealing(sealed)
        try rows.insert(factor, secret: sealed)
        try emit(.factorCreated, .code(factor))
        return factor
    }

    fileprivate func verifyCodeFactor(_ sid: FactorSID, code: String) throws -> Result<CodeFactor, StoreError> {
        _ = try rows.lockedPerson(ofFactor: sid)
        guard var factor = try rows.codeFactor(sid),
            factor.isVerified || factor.createdAtMs > nowMs - StorePolicy.unverifiedLifeMs
        else { throw StoreError.notFound(.factor) }
        guard let secret = try rows.codeSecret(of: sid) else { throw StoreError.notFound(.factor) }
        guard secret.attempts < StorePolicy.codeAttempts else { return .failure(.limit(.factorAttempts)) }
        guard try use(code, of: factor) else {
            try rows.setAttempts(secret.attempts + 1, ofCodeFactor: sid)
            return .failure(.codeRefused)
        }
        try rows.setAttempts(0, ofCodeFactor: sid)
        guard !factor.isVerified else { return .success(factor) }
        factor.isVerified = true
        factor.updatedAtMs = nowMs
        try rows.markCodeFactorVerified(sid, nowMs: nowMs)
        try emit(.factorVerified, .code(factor))
        return .success(factor)
    }

    fileprivate func updateCodeFactor(_ sid: FactorSID, _ change: CodeFactorChange) throws -> CodeFactor {
        _ = try rows.lockedPerson(ofFactor: sid)
        guard let former = try rows.codeFactor(sid) else { throw StoreError.notFound(.factor) }
        var factor = former
        factor.friendlyName = change.friendlyName ?? factor.friendlyName
        factor.code = change.code ?? factor.code
        guard factor != former else { return former }
        factor.updatedAtMs = nowMs
        // With another step length the step numbers change. Every new step that begins before the end of the used step
        // counts as used.
        if factor.code.timeStep != former.code.timeStep, let used = try rows.codeSecret(of: sid)?.usedStep, used >= 0 {
            let step = Int64(factor.code.timeStep)
            let end = (used + 1) * Int64(former.code.timeStep)
            try rows.setUsedStep((end + step - 1) / step - 1, ofCodeFactor: sid)
        }
        let revision = try rows.update(factor)
        try emit(.factorUpdated, .code(factor), revision: revision)
        return factor
    }

    func delete(_ factor: CodeFactor, reason: FactorDeletion) throws {
        try rows.deleteCodeFactor(factor.sid)
        try emit(.factorDeleted, .code(factor), ["reason": .string(reason.rawValue)])
    }

    /// Whether the code is correct now. A correct code uses up its step and all steps before it.
    func use(_ code: String, of factor: CodeFactor) throws -> Bool {
        guard let secret = try rows.codeSecret(of: factor.sid) else { return false }
        let bytes = try rules.open(secret.sealed, Self.codeContext(factor.account, factor.sid))
        guard let step = factor.code.acceptedStep(of: code, secret: bytes, used: secret.usedStep, nowMs: nowMs) else {
            return false
        }
        try rows.setUsedStep(step, ofCodeFactor: factor.sid)
        return true
    }

    private static func codeContext(_ account: AccountSID, _ sid: FactorSID) -> [String] {
        SealedPlace.codeSecrets.context(account: account.rawValue, sid: sid.rawValue)
    }
}
