public import ChallengeModel
import GRDB

extension SQLiteChallengeStore {
    public func rejectRequest(
        _ requestID: String, account: AccountSID, service: String, eventID: String, data: [String: EventValue],
        nowMs: Int64
    ) async throws -> Bool {
        try await write { database in
            guard try database.result(ofRequest: requestID, account: account, service: service, nowMs: nowMs) == nil
            else { return false }
            try database.remember(requestID, account: account, service: service, made: nil, nowMs: nowMs)
            try database.emit(
                .requestRejected, account: account, service: ServiceSID(service)?.rawValue ?? "", subject: requestID,
                id: eventID, data: data,
                nowMs: nowMs)
            return true
        }
    }
}

/// What became of a request id.
enum RequestResult: Equatable {
    /// It made this challenge, or this live one stands for it.
    case challenge(ChallengeSID)
    case rejected
}

extension Database {
    /// The one result of a request id within its life; nil: it is free.
    func result(ofRequest requestID: String, account: AccountSID, service: String, nowMs: Int64) throws
        -> RequestResult?
    {
        let row = try row(
            """
            SELECT challenge_sid FROM request_ids WHERE account_sid = ? AND service_sid = ? AND request_id = ? \
            AND created_ms > ?
            """, [account.rawValue, service, requestID, nowMs - StorePolicy.requestIDLifeMs])
        guard let row else { return nil }
        let sid: String = row[0]
        guard !sid.isEmpty else { return .rejected }
        var columns = Columns(row)
        return try .challenge(columns.sid())
    }

    /// - Parameter challenge: nil for a request that was rejected, which the column holds as ''.
    func remember(
        _ requestID: String, account: AccountSID, service: String, made challenge: ChallengeSID?, nowMs: Int64
    ) throws {
        try run(
            """
            INSERT OR REPLACE INTO request_ids (account_sid, service_sid, request_id, challenge_sid, created_ms) \
            VALUES (?, ?, ?, ?, ?)
            """, [account.rawValue, service, requestID, challenge?.rawValue ?? "", nowMs])
    }
}
