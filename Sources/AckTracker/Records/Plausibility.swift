import ChallengeModel

/// The plausible values of a record. Times are hints, but a time far ahead of its own record, or an impossible one,
/// shows that the record is not genuine, so it must have no effect. Pure functions with the same result for every
/// owner: they compare with the record's timestamp, not with the time of reading.
enum Plausibility {
    /// Latest valid time, the year 2100 in epoch milliseconds. Sums of times then cannot overflow.
    static let latestMs: Int64 = 4_102_444_800_000
    /// Tolerance for differing clocks.
    static let toleranceMs: Int64 = 300_000

    /// - Parameter recordedMs: the record's timestamp; 0 or less: it has none, and only the limits are checked.
    /// - Throws: ``RecordFormatError`` with reason `range`.
    static func check(_ kind: Fact.Kind, recordedMs: Int64) throws(RecordFormatError) {
        switch kind {
        case .dispatch(let dispatch, let id, _):
            try check(id)
            try check(dispatch, recordedMs)
        case .carried(let carried, _):
            try check(carried.dispatch, recordedMs)
            guard carried.lastAttemptNumber <= UInt32(DispatchBits.lastAttempt) else {
                throw bad("last_attempt_number")
            }
            for device in carried.devices where device.accepted > 64 || device.backgroundUsed > 64 {
                throw bad("accepted or background_used")
            }
        case .deviceChanged(let changed, _): try inBounds(changed.target.registeredAtMs, "registered_at_ms")
        case .outcome(let outcome, let id, _):
            try check(id)
            try happened(outcome.atMs, recordedMs, "at_ms")
            try happened(outcome.sentAtMs, recordedMs, "sent_at_ms")
            try inBounds(outcome.expiresAtMs, "expires_at_ms")
            try inBounds(outcome.retryAtMs, "retry_at_ms")
            try inBounds(outcome.registeredAtMs, "registered_at_ms")
            if outcome.atMs > 0, outcome.sentAtMs > outcome.atMs + toleranceMs { throw bad("sent_at_ms (after at_ms)") }
        case .receipt(let receipt, _): try happened(receipt.receivedAtMs, recordedMs, "received_at_ms")
        case .escalation(let escalation): try happened(escalation.atMs, recordedMs, "at_ms")
        case .resolution(let resolution): try happened(resolution.atMs, recordedMs, "at_ms")
        }
    }

    /// - Throws: for a t<n> that no tracker writes.
    private static func check(_ id: DispatchID) throws(RecordFormatError) {
        guard case .attempt(let number) = id, number > DispatchBits.lastAttempt else { return }
        throw RecordFormatError(
            reason: "range", "dispatch_id is t\(number); a challenge has at most \(DispatchBits.lastAttempt) attempts")
    }

    private static func check(_ dispatch: ChallengeDispatch, _ recordedMs: Int64) throws(RecordFormatError) {
        try happened(dispatch.createdAtMs, recordedMs, "created_at_ms")
        try inBounds(dispatch.expiresAtMs, "expires_at_ms")
        for target in dispatch.targets { try inBounds(target.registeredAtMs, "registered_at_ms") }
    }

    private static func inBounds(_ epochMs: Int64, _ field: String) throws(RecordFormatError) {
        guard (0...latestMs).contains(epochMs) else { throw bad(field) }
    }

    private static func happened(_ epochMs: Int64, _ recordedMs: Int64, _ field: String) throws(RecordFormatError) {
        try inBounds(epochMs, field)
        guard recordedMs <= 0 || epochMs <= recordedMs + toleranceMs else {
            throw RecordFormatError(
                reason: "range",
                "\(field) is \(epochMs - recordedMs) ms after the record itself; \(toleranceMs) at most")
        }
    }

    private static func bad(_ field: String) -> RecordFormatError {
        RecordFormatError(reason: "range", "\(field) is out of range")
    }
}
