public import ChallengeModel

extension ChallengeStore {
    /// Rejects a request: writes `request.rejected` and stores the rejection as the one result of its request id, for
    /// as long as the result of a created challenge is stored.
    /// - Parameter service: the scope of the request ids. A text that is not a SID names no service, and the event then
    ///   names none.
    /// - Returns: false when the id already has a result. Nothing is written then.
    public func rejectRequest(
        _ requestID: String, account: AccountSID, service: String, eventID: String, data: [String: EventValue],
        nowMs: Int64
    ) async throws -> Bool {
        try await write(nowMs) { decision in
            try decision.rows.lockRequest(requestID, account: account, service: service)
            guard try decision.requestResult(requestID, account: account, service: service) == nil else { return false }
            try decision.rows.remember(requestID, account: account, service: service, .rejected, nowMs: nowMs)
            try decision.emit(
                .requestRejected, account: account, service: ServiceSID(service)?.rawValue ?? "", subject: requestID,
                id: eventID, data: data)
            return true
        }
    }
}
