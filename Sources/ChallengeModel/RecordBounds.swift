public import SwiftProtobuf
import Wire

/// A message from outside: the value of a record, or a stored or sealed form of it. Every number is checked when the
/// message is read, so that no later calculation can overflow in any role.
///
/// | number | range |
/// |---|---|
/// | every time, `*_at_ms` | ``Timestamp/range``: 0 (unknown) to the end of the year 9999 |
/// | `max_attempts` | 0 to 255 |
/// | `expected_latency_ms` | 0 to 3,600,000: no challenge lives longer |
/// | `background_budget` | 0 to 65,535 |
/// | `device_time_ms` | any; what is out of range reads as 0, because it is only advice |
///
/// A record with another number is refused with reason `range`.
public protocol RecordValue: SwiftProtobuf.Message {
    /// - Throws: ``RecordFormatError`` with reason `range` that names the field.
    mutating func bound() throws(RecordFormatError)
}

/// The checks themselves.
private enum Bound {
    static func time(_ epochMs: Int64, _ field: String) throws(RecordFormatError) {
        guard Timestamp.range.contains(epochMs) else {
            throw RecordFormatError(
                reason: "range", "\(field) is \(epochMs); expected epoch milliseconds from 0 to the year 9999")
        }
    }

    static func count(_ count: UInt32, atMost most: UInt32, _ field: String) throws(RecordFormatError) {
        guard count <= most else {
            throw RecordFormatError(reason: "range", "\(field) is \(count); expected at most \(most)")
        }
    }
}

extension ChallengeRequest: RecordValue {
    /// Checks nothing: the rules of the entrance check each number and tell the backend (`request.rejected`).
    public mutating func bound() throws(RecordFormatError) {}
}

extension Redelivery: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        try Bound.count(maxAttempts, atMost: 255, "redelivery.max_attempts")
        try Bound.count(expectedLatencyMs, atMost: 3_600_000, "redelivery.expected_latency_ms")
    }
}

extension DispatchTarget {
    fileprivate func checkBounds() throws(RecordFormatError) {
        try Bound.time(registeredAtMs, "registered_at_ms")
        try Bound.count(backgroundBudget, atMost: 65_535, "background_budget")
    }
}

extension ChallengeDispatch {
    fileprivate func checkBounds() throws(RecordFormatError) {
        try Bound.time(createdAtMs, "created_at_ms")
        try Bound.time(expiresAtMs, "expires_at_ms")
        try Bound.time(pushExpiresAtMs, "push_expires_at_ms")
        if hasRedelivery {
            var redelivery = redelivery
            try redelivery.bound()
        }
        for target in targets { try target.checkBounds() }
    }
}

extension ChallengeRecord: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        switch kind {
        case .dispatch(let dispatch): try dispatch.checkBounds()
        case .deviceChanged(let changed): if changed.hasTarget { try changed.target.checkBounds() }
        case .carried(let carried): try carried.dispatch.checkBounds()
        case nil: break
        }
    }
}

extension PushOutcome: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        try Bound.time(retryAtMs, "retry_at_ms")
        try Bound.time(registeredAtMs, "registered_at_ms")
        try Bound.time(tokenDiedAtMs, "token_died_at_ms")
        try Bound.time(expiresAtMs, "expires_at_ms")
        try Bound.time(sentAtMs, "sent_at_ms")
        try Bound.time(atMs, "at_ms")
    }
}

extension Escalation: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        try Bound.time(expiresAtMs, "expires_at_ms")
        try Bound.time(atMs, "at_ms")
        for device in devices { try Bound.time(device.lastAttemptAtMs, "last_attempt_at_ms") }
    }
}

extension OutcomeRecord: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        switch kind {
        case .push(var outcome): try outcome.bound()
        case .escalation(var escalation): try escalation.bound()
        case nil: break
        }
    }
}

extension Receipt: RecordValue {
    public mutating func bound() throws(RecordFormatError) {
        try Bound.time(receivedAtMs, "received_at_ms")
        if !Timestamp.range.contains(deviceTimeMs) { deviceTimeMs = 0 }
    }
}

extension Resolution: RecordValue {
    public mutating func bound() throws(RecordFormatError) { try Bound.time(atMs, "at_ms") }
}

extension SealedConfiguration: RecordValue {
    /// Nothing: it holds no number.
    public mutating func bound() throws(RecordFormatError) {}
}

extension ProviderCredential: RecordValue {
    /// Nothing: it holds no number.
    public mutating func bound() throws(RecordFormatError) {}
}
