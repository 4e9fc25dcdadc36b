public import ChallengeModel

extension ChallengeStore {
    /// A request that makes no challenge: writes `request.rejected`, and keeps that as the one result of its id for as long as a
    /// challenge would be kept.
    /// - Parameter service: the one whose ids these are; what is no SID stands for none, and the event names none.
    /// - Returns: false when the id has its result already: then nothing is written.
    public func rejectRequest(
        _ requestID: String, account: AccountSID, service: String, eventID: String, data: [String: EventValue],
        nowMs: Int64
    ) async throws -> Bool {
        try await write(nowMs) { decision in
            guard try decision.requestResult(requestID, account: account, service: service) == nil else { return false }
            try decision.rows.remember(requestID, account: account, service: service, .rejected, nowMs: nowMs)
            try decision.emit(
                .requestRejected, account: account, service: ServiceSID(service)?.rawValue ?? "", subject: requestID,
                id: eventID, data: data)
            return true
        }
    }
}
