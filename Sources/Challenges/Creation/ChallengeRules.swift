package import ChallengeModel
import Wire

/// The parameters of a challenge, with their names in a form and in a record.
package enum ChallengeField: String, CaseIterable {
    case identity = "Identity"
    case service = "ServiceSid"
    case factor = "FactorSid"
    case message = "Details.Message"
    case fields = "Details.Fields"
    case hiddenDetails = "HiddenDetails"
    case expiration = "ExpirationDate"
    case fallback = "Fallback"
    case maxAttempts = "Redelivery.MaxAttempts"
    case expectedLatency = "Redelivery.ExpectedLatency"
    case confirm = "Redelivery.Confirm"
    case actionKey = "ActionKey"
    case numberMatching = "NumberMatching"
    case numberDigits = "NumberDigits"
    case requireSession = "RequireSession"

    /// The name in `ChallengeRequest`.
    package var recordField: String {
        switch self {
        case .identity: "identity"
        case .service: "service_sid"
        case .factor: "factor_sid"
        case .message: "message"
        case .fields: "fields"
        case .hiddenDetails: "hidden_details"
        case .expiration: "ttl_seconds"
        case .fallback: "fallbacks"
        case .maxAttempts: "redelivery.max_attempts"
        case .expectedLatency: "redelivery.expected_latency_ms"
        case .confirm: "redelivery.confirm"
        case .actionKey: "action_key"
        case .numberMatching: "number_matching"
        case .numberDigits: "number_digits"
        case .requireSession: "require_session"
        }
    }
}

/// The rules for the parameters of a new challenge, for every entrance. A violation names the parameter of the form.
/// Readers of other formats rename it.
package enum ChallengeRules {
    package static let defaultLifeMs: Int64 = 5 * 60_000
    package static let maxLifeMs: Int64 = 60 * 60_000
    /// Tolerance for a backend that adds 60 minutes to a clock that is slightly ahead of this one.
    package static let clockSlackMs: Int64 = 5_000
    /// The allowed digits of number matching.
    package static let numberDigits = 2...6

    package static func message(_ text: String) throws(RuleViolation) -> String {
        let count = text.unicodeScalars.count
        guard (1...256).contains(count) else {
            throw violation(.message, "1 to 256 characters, got \(count)")
        }
        return text
    }

    /// - Returns: JSON text `[{"label":…,"value":…}]`.
    package static func fields(_ fields: [DetailField]) throws(RuleViolation) -> String {
        guard fields.count <= 20 else { throw violation(.fields, "at most 20 fields, got \(fields.count)") }
        for field in fields {
            guard (1...36).contains(field.label.unicodeScalars.count) else {
                throw violation(.fields, "a label of 1 to 36 characters in each field")
            }
            guard field.value.unicodeScalars.count <= 128 else {
                throw violation(.fields, "a value of at most 128 characters in each field")
            }
        }
        return JSONValue.array(
            fields.map { .object([("label", .string($0.label)), ("value", .string($0.value))]) }
        ).text
    }

    /// One `Details.Fields` parameter: `{"label":"…","value":"…"}`.
    package static func field(_ text: String) throws(RuleViolation) -> DetailField {
        guard let value = try? JSONParser.parse(text), let members = value.members, members.count == 2,
            let label = value["label"]?.stringValue, let content = value["value"]?.stringValue
        else {
            throw violation(
                .fields, "JSON like {\"label\":\"IP\",\"value\":\"10.0.0.1\"} in each, label and value strings")
        }
        var field = DetailField()
        field.label = label
        field.value = content
        return field
    }

    package static func hiddenDetails(_ text: String) throws(RuleViolation) -> String {
        try TextRules.stringObject(text, parameter: ChallengeField.hiddenDetails.rawValue)
    }

    /// - Throws: for an expiry in the past, or too far in the future.
    package static func expiry(_ expiresAtMs: Int64, nowMs: Int64) throws(RuleViolation) {
        guard expiresAtMs > nowMs else { throw violation(.expiration, "a time in the future") }
        guard expiresAtMs <= nowMs + maxLifeMs + clockSlackMs else {
            throw violation(.expiration, "a time at most 60 minutes from now")
        }
    }

    /// Rounds up, because the API shows an expiry this way and a device signs it this way.
    package static func wholeSeconds(_ epochMs: Int64) -> Int64 { (epochMs + 999) / 1000 * 1000 }

    /// `ExpirationDate` as it was sent: ISO 8601.
    package static func expirationDate(_ text: String) throws(RuleViolation) -> Int64 {
        guard let time = Timestamp.epochMs(text), time < 1 << 50 else {
            throw violation(.expiration, "an RFC 3339 time, like 2026-01-31T20:00:00Z")
        }
        return time
    }

    package static func fallbacks(_ names: [String]) throws(RuleViolation) -> [String] {
        guard names.count <= 8 else { throw violation(.fallback, "at most 8 names, got \(names.count)") }
        for name in names {
            let isAllowed = name.utf8.allSatisfy { byte in
                TextRules.isDigit(byte) || TextRules.isLower(byte) || byte == UInt8(ascii: "_")
                    || byte == UInt8(ascii: "-")
            }
            guard isAllowed, (1...32).contains(name.utf8.count) else {
                throw violation(.fallback, "names of 1 to 32 of a-z, 0-9, _ and -, like sms")
            }
        }
        return names
    }

    package static func actionKey(_ text: String) throws(RuleViolation) -> String {
        guard (1...128).contains(text.unicodeScalars.count) else {
            throw violation(.actionKey, "1 to 128 characters that name one attempt, or no value")
        }
        return text
    }

    /// A request for digits also requests a number.
    package static func completeNumber(_ new: inout NewChallenge) throws(RuleViolation) {
        guard new.numberDigits != nil else { return }
        guard new.requiresNumber != false else {
            throw violation(.numberDigits, "no value when \(ChallengeField.numberMatching.rawValue) is false")
        }
        new.requiresNumber = true
    }

    /// Dispatches of a challenge that a provider accepts.
    package static let maxAttempts = 1...10
    /// Time from the provider's acceptance to the next attempt.
    package static let latencyMs = 500...60_000
    package static let latencyExpectation =
        "milliseconds from \(latencyMs.lowerBound) to \(latencyMs.upperBound), or adaptive"

    /// Zeros mean the defaults.
    package static func redelivery(_ value: Redelivery) throws(RuleViolation) -> Redelivery {
        guard value.maxAttempts == 0 || maxAttempts.contains(Int(value.maxAttempts)) else {
            throw violation(
                .maxAttempts, "a whole number from \(maxAttempts.lowerBound) to \(maxAttempts.upperBound)")
        }
        guard value.expectedLatencyMs == 0 || latencyMs.contains(Int(value.expectedLatencyMs)) else {
            throw violation(.expectedLatency, latencyExpectation)
        }
        switch value.confirm {
        case .unspecified, .each, .any: return value
        case .UNRECOGNIZED: throw violation(.confirm, "each or any")
        }
    }

    package static func violation(_ field: ChallengeField, _ expectation: String) -> RuleViolation {
        RuleViolation(field.rawValue, expectation)
    }
}
