import ChallengeModel
import Challenges

/// The verbs of ``CodeFactorRows``.
extension SQLTransaction {
    func codeFactor(_ sid: FactorSID) throws -> CodeFactor? {
        try connection.row("SELECT \(CodeFactor.columns) FROM code_factors WHERE sid = ?", [sid.rawValue]).map(
            CodeFactor.init(row:))
    }

    func codeFactor(_ sid: FactorSID, entity: EntitySID) throws -> CodeFactor? {
        try connection.row(
            "SELECT \(CodeFactor.columns) FROM code_factors WHERE sid = ? AND entity_sid = ?",
            [sid.rawValue, entity.rawValue]
        ).map(CodeFactor.init(row:))
    }

    func codeSecret(of sid: FactorSID) throws -> CodeSecret? {
        try connection.row(
            "SELECT key_id, sealed, used_step, attempts FROM code_factors WHERE sid = ?", [sid.rawValue]
        ).map { row in
            var columns = Columns(row)
            return CodeSecret(sealed: columns.sealed(), usedStep: columns.int64(), attempts: columns.integer())
        }
    }

    func codeSecrets(of entity: EntitySID) throws -> [(sid: FactorSID, secret: SealedValue)] {
        try connection.rows(
            "SELECT sid, key_id, sealed FROM code_factors WHERE entity_sid = ?", [entity.rawValue]
        ).map { row in
            var columns = Columns(row)
            return (try columns.sid(), columns.sealed())
        }
    }

    func codeFactors(of entity: EntitySID) throws -> [CodeFactor] {
        try connection.rows(
            "SELECT \(CodeFactor.columns) FROM code_factors WHERE entity_sid = ?", [entity.rawValue]
        ).map(CodeFactor.init(row:))
    }

    func insert(_ factor: CodeFactor, secret: SealedValue) throws {
        try connection.run(
            """
            INSERT INTO code_factors (\(CodeFactor.columns), key_id, sealed) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                factor.sid.rawValue, factor.account.rawValue, factor.service.rawValue, factor.entity.rawValue,
                factor.identity, factor.friendlyName, factor.isVerified, factor.code.algorithm.rawValue,
                factor.code.timeStep, factor.code.codeLength, factor.code.skew, factor.metadata, factor.createdAtMs,
                factor.updatedAtMs, secret.keyID, blob(secret.bytes),
            ])
    }

    func update(_ factor: CodeFactor) throws -> Int64 {
        try connection.run(
            """
            UPDATE code_factors SET friendly_name = ?, algorithm = ?, time_step = ?, code_length = ?, skew = ?, \
            updated_ms = ?, revision = revision + 1 WHERE sid = ?
            """,
            [
                factor.friendlyName, factor.code.algorithm.rawValue, factor.code.timeStep, factor.code.codeLength,
                factor.code.skew, factor.updatedAtMs, factor.sid.rawValue,
            ])
        return try connection.integer("SELECT revision FROM code_factors WHERE sid = ?", [factor.sid.rawValue])
    }

    func markCodeFactorVerified(_ sid: FactorSID, nowMs: Int64) throws {
        try connection.run("UPDATE code_factors SET verified = 1, updated_ms = ? WHERE sid = ?", [nowMs, sid.rawValue])
    }

    func setUsedStep(_ step: Int64, ofCodeFactor sid: FactorSID) throws {
        try connection.run("UPDATE code_factors SET used_step = ? WHERE sid = ?", [step, sid.rawValue])
    }

    func setAttempts(_ attempts: Int, ofCodeFactor sid: FactorSID) throws {
        try connection.run("UPDATE code_factors SET attempts = ? WHERE sid = ?", [attempts, sid.rawValue])
    }

    func deleteCodeFactor(_ sid: FactorSID) throws {
        try connection.run("DELETE FROM code_factors WHERE sid = ?", [sid.rawValue])
        try connection.run("DELETE FROM code_creations WHERE factor_sid = ?", [sid.rawValue])
    }

    func unverifiedCodeFactors(of entity: EntitySID?, createdUntilMs: Int64, limit: Int) throws -> [CodeFactor] {
        let ofEntity = """
            FROM code_factors WHERE entity_sid = ? AND verified = 0 AND created_ms <= ? ORDER BY created_ms LIMIT ?
            """
        let ofAll = dialect.due("code_factors", "d.verified = 0 AND d.created_ms <= ?", by: "created_ms")
        return try connection.rows(
            "SELECT \(CodeFactor.columns) \(entity == nil ? ofAll : ofEntity)",
            (entity.map { [$0.rawValue] } ?? []) + [createdUntilMs, limit]
        ).map(CodeFactor.init(row:))
    }

    func allFactors(entity: EntitySID, page request: PageRequest) throws -> Page<AnyFactor> {
        // The time stands behind the two digits of the variant. There are at most 120 rows.
        func rows(_ columns: String, _ table: String) throws -> [Connection.Row] {
            try connection.rows(
                """
                SELECT \(columns) FROM \(table) WHERE entity_sid = ? AND substr(sid, 5) > ? \
                ORDER BY substr(sid, 5) LIMIT ?
                """, [entity.rawValue, request.after ?? "", request.clampedSize + 1])
        }
        let found =
            try rows(Factor.columns, "factors").map { AnyFactor.push(try Factor(row: $0)) }
            + rows(CodeFactor.columns, "code_factors").map { .code(try CodeFactor(row: $0)) }
        let sorted = found.map { (key: String($0.sid.rawValue.dropFirst(4)), factor: $0) }
            .sorted { $0.key < $1.key }
        let items = sorted.prefix(request.clampedSize)
        return Page(items: items.map(\.factor), next: sorted.count > items.count ? items.last?.key : nil)
    }

    func countCodeChallenges(of factor: FactorSID, sinceMs: Int64) throws -> Int {
        Int(
            try connection.integer(
                "SELECT count(*) FROM code_creations WHERE factor_sid = ? AND created_ms > ?",
                [factor.rawValue, sinceMs]))
    }

    func insertCodeChallenge(_ sid: ChallengeSID, of factor: FactorSID, sinceMs: Int64, nowMs: Int64) throws {
        try connection.run(
            "DELETE FROM code_creations WHERE factor_sid = ? AND created_ms <= ?", [factor.rawValue, sinceMs])
        try connection.run(
            "INSERT INTO code_creations (factor_sid, created_ms, challenge_sid) VALUES (?, ?, ?)",
            [factor.rawValue, nowMs, sid.rawValue])
    }

    func codeAttempts(of challenge: ChallengeSID) throws -> Int {
        Int(
            try connection.integer(
                "SELECT attempts FROM code_attempts WHERE challenge_sid = ?", [challenge.rawValue]))
    }

    func countCodeAttempt(of challenge: ChallengeSID) throws {
        try connection.run(
            """
            INSERT INTO code_attempts (challenge_sid, attempts) VALUES (?, 1) \
            ON CONFLICT (challenge_sid) DO UPDATE SET attempts = code_attempts.attempts + 1
            """, [challenge.rawValue])
    }
}

extension CodeFactor {
    fileprivate static let columns = """
        sid, account_sid, service_sid, entity_sid, identity, friendly_name, verified, algorithm, time_step, code_length, \
        skew, metadata, created_ms, updated_ms
        """

    fileprivate init(row: some SQLRow) throws {
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
