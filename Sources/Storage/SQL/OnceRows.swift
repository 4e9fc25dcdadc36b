import ChallengeModel
import Challenges

/// The verbs of ``OnceRows``.
extension SQLTransaction {
    func lockRequest(_ requestID: String, account: AccountSID, service: String) throws {
        guard dialect.locksRows else { return }
        // A number for a text: two texts of one number only wait for each other.
        _ = try connection.row(
            "SELECT pg_advisory_xact_lock(hashtextextended(?, 1))", ["\(account)/\(service)/\(requestID)"])
    }

    func lock(_ key: IdempotencyKey) throws {
        guard dialect.locksRows else { return }
        // A hash: its first bytes will do.
        let number = key.key.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        _ = try connection.row("SELECT pg_advisory_xact_lock(?)", [Int64(bitPattern: number)])
    }

    func requestResult(
        _ requestID: String, account: AccountSID, service: String, sinceMs: Int64
    ) throws -> RequestResult? {
        try connection.row(
            """
            SELECT challenge_sid FROM request_ids WHERE account_sid = ? AND service_sid = ? AND request_id = ? \
            AND created_ms > ?
            """, [account.rawValue, service, requestID, sinceMs]
        ).map { row in
            // A request that was rejected made none.
            guard !row.text(0).isEmpty else { return .rejected }
            var columns = Columns(row)
            return .challenge(try columns.sid())
        }
    }

    func remember(
        _ requestID: String, account: AccountSID, service: String, _ result: RequestResult, nowMs: Int64
    ) throws {
        let challenge =
            switch result {
            case .challenge(let sid): sid.rawValue
            case .rejected: ""
            }
        try connection.run(
            """
            INSERT INTO request_ids (account_sid, service_sid, request_id, challenge_sid, created_ms) \
            VALUES (?, ?, ?, ?, ?) ON CONFLICT (account_sid, service_sid, request_id) DO UPDATE SET \
            challenge_sid = excluded.challenge_sid, created_ms = excluded.created_ms
            """, [account.rawValue, service, requestID, challenge, nowMs])
    }

    func idempotentRequest(_ key: [UInt8], sinceMs: Int64) throws -> (request: [UInt8], challenge: ChallengeSID)? {
        try connection.row(
            "SELECT request_hash, challenge_sid FROM idempotency_keys WHERE key_hash = ? AND created_ms > ?",
            [blob(key), sinceMs]
        ).map { row in
            var columns = Columns(row)
            return (columns.bytes(), try columns.sid())
        }
    }

    func remember(_ key: IdempotencyKey, made challenge: ChallengeSID, nowMs: Int64) throws {
        try connection.run(
            """
            INSERT INTO idempotency_keys (key_hash, request_hash, challenge_sid, created_ms) \
            VALUES (?, ?, ?, ?) ON CONFLICT (key_hash) DO UPDATE SET request_hash = excluded.request_hash, \
            challenge_sid = excluded.challenge_sid, created_ms = excluded.created_ms
            """, [blob(key.key), blob(key.request), challenge.rawValue, nowMs])
    }

    func insertSessionToken(_ secretHash: [UInt8], _ token: SessionToken) throws {
        try connection.run(
            """
            INSERT INTO session_tokens (secret_hash, account_sid, service_sid, entity_sid, factor_sid, challenge_sid, \
            expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                blob(secretHash), token.account.rawValue, token.service.rawValue, token.entity.rawValue,
                token.factor?.rawValue, token.challenge?.rawValue, token.expiresAtMs,
            ])
    }

    func sessionToken(_ secretHash: [UInt8]) throws -> SessionToken? {
        try connection.row(
            """
            SELECT account_sid, service_sid, entity_sid, factor_sid, challenge_sid, expires_ms FROM session_tokens \
            WHERE secret_hash = ?
            """, [blob(secretHash)]
        ).map { row in
            var columns = Columns(row)
            return SessionToken(
                account: try columns.sid(), service: try columns.sid(), entity: try columns.sid(),
                factor: try columns.optionalSID(), challenge: try columns.optionalSID(), expiresAtMs: columns.int64())
        }
    }

    func bindSessionToken(_ secretHash: [UInt8], to challenge: ChallengeSID) throws -> Bool {
        try connection.hasChanged(
            """
            UPDATE session_tokens SET challenge_sid = ? WHERE secret_hash = ? \
            AND (challenge_sid IS NULL OR challenge_sid = ?)
            """, [challenge.rawValue, blob(secretHash), challenge.rawValue])
    }

    func claim(_ request: TokenUse) throws -> [UInt8]? {
        let fingerprint = blob(request.fingerprint)
        if try connection.hasChanged(
            """
            INSERT INTO device_requests (fingerprint, request, expires_ms) VALUES (?, ?, ?) \
            ON CONFLICT (fingerprint) DO NOTHING
            """, [fingerprint, blob(request.request), request.expiresAtMs])
        {
            return nil
        }
        // Without a row it is nobody's, and so not this request's either.
        return try connection.row("SELECT request FROM device_requests WHERE fingerprint = ?", [fingerprint]).map {
            row in
            var columns = Columns(row)
            return columns.bytes()
        } ?? []
    }

    func tokenUse(_ fingerprint: [UInt8], nowMs: Int64) throws -> [UInt8]? {
        try connection.row(
            "SELECT request FROM device_requests WHERE fingerprint = ? AND expires_ms > ?", [blob(fingerprint), nowMs]
        ).map { row in
            var columns = Columns(row)
            return columns.bytes()
        }
    }
}
