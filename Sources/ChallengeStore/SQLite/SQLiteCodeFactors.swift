public import ChallengeModel
import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func createCodeFactor(_ new: NewCodeFactor, nowMs: Int64) async throws -> CodeFactor {
        let sid = FactorSID.generate(variant: FactorSID.codeVariant, nowMs: nowMs)
        let (keyID, sealed) = try sealAtRest(new.secret, Self.codeContext(new.account, sid))
        return try await write { database in
            try database.requireService(new.service, account: new.account)
            let existing = try database.entity(account: new.account, service: new.service, identity: new.identity)
            if existing == nil, EntitySID(new.identity) != nil { throw StoreError.notFound(.entity) }
            let entity =
                try existing
                ?? database.insertEntity(
                    account: new.account, service: new.service, identity: new.identity,
                    limit: self.entityCreationsPerSecond, nowMs: nowMs)
            try database.pruneUnverifiedCodes(
                "entity_sid = ?", [entity.sid.rawValue], createdBeforeMs: nowMs - StorePolicy.unverifiedLifeMs,
                limit: 100, nowMs: nowMs)
            let others = try database.rows(
                "SELECT sid, key_id, sealed FROM code_factors WHERE entity_sid = ?", [entity.sid.rawValue])
            guard others.count < StorePolicy.codeFactorsPerEntity else { throw StoreError.limit(.codeFactors) }
            for row in others {
                var columns = Columns(row)
                let other: FactorSID = try columns.sid()
                let keyID = columns.text()
                let secret = try self.openAtRest(
                    columns.data(), keyID: keyID, Self.codeContext(new.account, other))
                guard Array(secret) != new.secret else { throw StoreError.conflict(.factor) }
            }
            try database.countFactorCreation(sid, of: entity.sid, nowMs: nowMs)
            let factor = CodeFactor(
                sid: sid, account: new.account, service: new.service, entity: entity.sid, identity: entity.identity,
                friendlyName: new.friendlyName, isVerified: false, code: new.code, metadata: new.metadata,
                createdAtMs: nowMs, updatedAtMs: nowMs)
            try database.noteSealing(keyID, proof: self.keyProof)
            try database.insert(factor, keyID: keyID, sealed: sealed)
            try database.emit(.factorCreated, factor, nowMs: nowMs)
            return factor
        }
    }

    public func codeFactor(
        _ sid: FactorSID, account: AccountSID, service: ServiceSID, identity: String
    ) async throws -> CodeFactor? {
        try await read { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return nil
            }
            return try database.row(
                "SELECT \(CodeFactor.columns) FROM code_factors WHERE sid = ? AND entity_sid = ?",
                [sid.rawValue, entity.sid.rawValue]
            ).map(CodeFactor.init(row:))
        }
    }

    public func verifyCodeFactor(_ sid: FactorSID, code: String, nowMs: Int64) async throws -> CodeFactor {
        // A wrong code is counted, so that its transaction must not be rolled back: the refusal is a value until then.
        let result: Result<CodeFactor, StoreError> = try await write { database in
            guard var factor = try database.codeFactor(sid),
                factor.isVerified || factor.createdAtMs > nowMs - StorePolicy.unverifiedLifeMs
            else { throw StoreError.notFound(.factor) }
            let attempts = try database.integer("SELECT attempts FROM code_factors WHERE sid = ?", [sid.rawValue])
            guard attempts < StorePolicy.codeAttempts else { return .failure(.limit(.factorAttempts)) }
            guard try self.use(code, of: factor, in: database, nowMs: nowMs) else {
                try database.run("UPDATE code_factors SET attempts = attempts + 1 WHERE sid = ?", [sid.rawValue])
                return .failure(.codeRefused)
            }
            try database.run("UPDATE code_factors SET attempts = 0 WHERE sid = ?", [sid.rawValue])
            guard !factor.isVerified else { return .success(factor) }
            factor.isVerified = true
            factor.updatedAtMs = nowMs
            try database.run(
                "UPDATE code_factors SET verified = 1, updated_ms = ? WHERE sid = ?", [nowMs, sid.rawValue])
            try database.emit(.factorVerified, factor, nowMs: nowMs)
            return .success(factor)
        }
        return try result.get()
    }

    public func updateCodeFactor(
        _ sid: FactorSID, _ change: CodeFactorChange, nowMs: Int64
    ) async throws -> CodeFactor {
        try await write { database in
            guard let former = try database.codeFactor(sid) else { throw StoreError.notFound(.factor) }
            var factor = former
            factor.friendlyName = change.friendlyName ?? factor.friendlyName
            factor.code = change.code ?? factor.code
            guard factor != former else { return former }
            factor.updatedAtMs = nowMs
            // Steps of another length count otherwise: used is every new step that begins before the used one ended.
            if factor.code.timeStep != former.code.timeStep {
                let used = try database.integer("SELECT used_step FROM code_factors WHERE sid = ?", [sid.rawValue])
                let step = Int64(factor.code.timeStep)
                let end = (used + 1) * Int64(former.code.timeStep)
                try database.run(
                    "UPDATE code_factors SET used_step = ? WHERE sid = ?",
                    [used < 0 ? used : (end + step - 1) / step - 1, sid.rawValue])
            }
            try database.run(
                """
                UPDATE code_factors SET friendly_name = ?, algorithm = ?, time_step = ?, code_length = ?, skew = ?, \
                updated_ms = ?, revision = revision + 1 WHERE sid = ?
                """,
                [
                    factor.friendlyName, factor.code.algorithm.rawValue, factor.code.timeStep, factor.code.codeLength,
                    factor.code.skew, nowMs, sid.rawValue,
                ])
            let revision = try database.integer("SELECT revision FROM code_factors WHERE sid = ?", [sid.rawValue])
            try database.emit(.factorUpdated, factor, revision: revision, nowMs: nowMs)
            return factor
        }
    }

    public func deleteCodeFactor(_ sid: FactorSID, nowMs: Int64) async throws -> Bool {
        try await write { database in
            guard let factor = try database.codeFactor(sid) else { return false }
            try database.delete(factor, reason: .requested, nowMs: nowMs)
            return true
        }
    }

    public func allFactors(
        account: AccountSID, service: ServiceSID, identity: String, page request: PageRequest
    ) async throws -> Page<AnyFactor> {
        try await read { database in
            guard let entity = try database.entity(account: account, service: service, identity: identity) else {
                return Page(items: [], next: nil)
            }
            // The time stands behind the two digits of the variant. There are at most 120 rows.
            func rows(_ columns: String, _ table: String) throws -> [Row] {
                try database.rows(
                    """
                    SELECT \(columns) FROM \(table) WHERE entity_sid = ? AND substr(sid, 5) > ? \
                    ORDER BY substr(sid, 5) LIMIT ?
                    """, [entity.sid.rawValue, request.after ?? "", request.clampedSize + 1])
            }
            let found =
                try rows(Factor.columns, "factors").map { AnyFactor.push(try Factor(row: $0)) }
                + rows(CodeFactor.columns, "code_factors").map { .code(try CodeFactor(row: $0)) }
            let sorted = found.map { (key: String($0.sid.rawValue.dropFirst(4)), factor: $0) }
                .sorted { $0.key < $1.key }
            let items = sorted.prefix(request.clampedSize)
            return Page(
                items: items.map(\.factor), next: sorted.count > items.count ? items.last?.key : nil)
        }
    }

    /// Whether the code is good now; if so its step and all before are used up.
    func use(_ code: String, of factor: CodeFactor, in database: Database, nowMs: Int64) throws -> Bool {
        guard
            let row = try database.row(
                "SELECT key_id, sealed, used_step FROM code_factors WHERE sid = ?", [factor.sid.rawValue])
        else { return false }
        var columns = Columns(row)
        let keyID = columns.text()
        let secret = try openAtRest(columns.data(), keyID: keyID, Self.codeContext(factor.account, factor.sid))
        guard
            let step = factor.code.acceptedStep(
                of: code, secret: secret, used: columns.int64(), nowMs: nowMs)
        else { return false }
        try database.run("UPDATE code_factors SET used_step = ? WHERE sid = ?", [step, factor.sid.rawValue])
        return true
    }

    static func codeContext(_ account: AccountSID, _ sid: FactorSID) -> [String] {
        [account.rawValue, sid.rawValue, "totp-secret"]
    }
}

extension CodeFactor {
    static let columns = """
        sid, account_sid, service_sid, entity_sid, identity, friendly_name, verified, algorithm, time_step, code_length, \
        skew, metadata, created_ms, updated_ms
        """

    init(row: Row) throws {
        var columns = Columns(row)
        self.init(
            sid: try columns.sid(), account: try columns.sid(), service: try columns.sid(), entity: try columns.sid(),
            identity: columns.text(), friendlyName: columns.text(), isVerified: columns.flag(),
            code: OneTimeCode(
                algorithm: OneTimeCode.Algorithm(rawValue: columns.text()) ?? .sha1, timeStep: columns.integer(),
                codeLength: columns.integer(), skew: columns.integer()),
            metadata: columns.optionalText(), createdAtMs: columns.int64(), updatedAtMs: columns.int64())
    }
}

extension Database {
    func codeFactor(_ sid: FactorSID) throws -> CodeFactor? {
        try row("SELECT \(CodeFactor.columns) FROM code_factors WHERE sid = ?", [sid.rawValue]).map(
            CodeFactor.init(row:))
    }

    func insert(_ factor: CodeFactor, keyID: String, sealed: Data) throws {
        try run(
            """
            INSERT INTO code_factors (\(CodeFactor.columns), key_id, sealed) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                factor.sid.rawValue, factor.account.rawValue, factor.service.rawValue, factor.entity.rawValue,
                factor.identity, factor.friendlyName, factor.isVerified, factor.code.algorithm.rawValue,
                factor.code.timeStep, factor.code.codeLength, factor.code.skew, factor.metadata, factor.createdAtMs,
                factor.updatedAtMs, keyID, sealed,
            ])
    }

    func delete(_ factor: CodeFactor, reason: FactorDeletion, nowMs: Int64) throws {
        try run("DELETE FROM code_factors WHERE sid = ?", [factor.sid.rawValue])
        try run("DELETE FROM code_creations WHERE factor_sid = ?", [factor.sid.rawValue])
        try emit(.factorDeleted, factor, ["reason": .string(reason.rawValue)], nowMs: nowMs)
    }

    func deleteCodeFactors(of entity: EntitySID, nowMs: Int64) throws {
        for row in try rows(
            "SELECT \(CodeFactor.columns) FROM code_factors WHERE entity_sid = ?", [entity.rawValue])
        {
            try delete(CodeFactor(row: row), reason: .entityDeleted, nowMs: nowMs)
        }
        try run("DELETE FROM factor_creations WHERE entity_sid = ?", [entity.rawValue])
    }

    /// - Throws: `limit(.factorCreations)` at 100 in a day.
    func countFactorCreation(_ factor: FactorSID, of entity: EntitySID, nowMs: Int64) throws {
        try run(
            "DELETE FROM factor_creations WHERE entity_sid = ? AND created_ms <= ?",
            [entity.rawValue, nowMs - StorePolicy.dayMs])
        guard
            try integer("SELECT count(*) FROM factor_creations WHERE entity_sid = ?", [entity.rawValue])
                < StorePolicy.factorCreationsPerDay
        else { throw StoreError.limit(.factorCreations) }
        try run(
            "INSERT INTO factor_creations (entity_sid, created_ms, factor_sid) VALUES (?, ?, ?)",
            [entity.rawValue, nowMs, factor.rawValue])
    }

    func pruneUnverifiedCodes(
        _ condition: String, _ arguments: Arguments, createdBeforeMs: Int64, limit: Int, nowMs: Int64
    ) throws {
        let old = try rows(
            """
            SELECT \(CodeFactor.columns) FROM code_factors WHERE \(condition) AND verified = 0 AND created_ms <= ? \
            ORDER BY created_ms LIMIT ?
            """, arguments + [createdBeforeMs, limit])
        for row in old { try delete(CodeFactor(row: row), reason: .neverVerified, nowMs: nowMs) }
    }

    func emit(
        _ type: EventType, _ factor: CodeFactor, _ more: [String: EventValue] = [:], revision: Int64? = nil,
        nowMs: Int64
    ) throws {
        let data: [String: EventValue] = [
            "account_sid": .string(factor.account.rawValue), "service_sid": .string(factor.service.rawValue),
            "entity_sid": .string(factor.entity.rawValue), "entity_identity": .string(factor.identity),
            "factor_sid": .string(factor.sid.rawValue), "factor_type": "totp",
            "status": factor.isVerified ? "verified" : "unverified",
        ]
        try emit(
            type, account: factor.account, service: factor.service.rawValue, subject: factor.sid.rawValue,
            id: revision.map { "\(factor.sid)/\(type.rawValue)/\($0)" }, data: data.merging(more) { $1 }, nowMs: nowMs)
    }
}
