import ChallengeModel
import Challenges
import Wire

/// The member `beckon`: all values that the original API does not have. It is present only when an extension is in
/// effect.
enum BeckonObject {
    /// For a service; nil when all settings are the defaults.
    static func service(_ service: Service) -> JSONValue? {
        let policy = service.policy
        guard policy != ServicePolicy() || service.hmsCredential != nil || service.webPushCredential != nil else {
            return nil
        }
        return .object([
            ("hms_credential_sid", .optional(service.hmsCredential?.rawValue)),
            ("webpush_credential_sid", .optional(service.webPushCredential?.rawValue)),
            ("fan_out", .boolean(policy.isFanOutAllowed)),
            ("number_matching", .string(policy.requiresNumber ? "required" : "off")),
            ("number_digits", .integer(Int64(policy.numberDigits))),
            ("require_session", .boolean(policy.requiresSession)),
            (
                "redelivery",
                redelivery(
                    attempts: policy.maxAttempts ?? StorePolicy.maxAttempts,
                    latencyMs: policy.expectedLatencyMs ?? StorePolicy.expectedLatencyMs,
                    isAdaptive: policy.isLatencyAdaptive, isAny: policy.confirmsByAny)
            ),
            ("fallbacks", .array(policy.fallbacks.map { .string($0) })),
            ("max_factors", .integer(Int64(policy.maxFactors))), ("when_full", .string(policy.whenFull.rawValue)),
            ("unreachable_factors", .string(policy.unreachableFactors.rawValue)),
        ])
    }

    private static func redelivery(attempts: Int, latencyMs: Int, isAdaptive: Bool, isAny: Bool) -> JSONValue {
        .object([
            ("max_attempts", .integer(Int64(attempts))), ("expected_latency", .integer(Int64(latencyMs))),
            ("adaptive", .boolean(isAdaptive)), ("confirm", .string(isAny ? "any" : "each")),
        ])
    }

    /// For a factor, read by a backend; nil while the factor gets pushes.
    static func factor(_ factor: Factor) -> JSONValue? {
        factor.unreachableAtMs.map { .object([("unreachable_since", .string(Timestamp.rfc3339Seconds($0)))]) }
    }

    /// For a challenge, read by a backend: the effective settings, when an extension is in effect; otherwise nil.
    static func challenge(_ challenge: Challenge, secrets: ChallengeSecrets) -> JSONValue? {
        let evidence = evidence(challenge, secrets.evidence)
        guard isInEffect(challenge) || (evidence != nil && secrets.evidence == .always) else { return nil }
        let redelivery = StorePolicy.completed(challenge.redelivery)
        var members: [(name: String, value: JSONValue)] = [
            ("fan_out", .boolean(challenge.factor == nil)),
            ("fallbacks", .array(challenge.fallbacks.map { .string($0) })),
            (
                "redelivery",
                self.redelivery(
                    attempts: Int(redelivery.maxAttempts), latencyMs: Int(redelivery.expectedLatencyMs),
                    isAdaptive: redelivery.adaptive, isAny: redelivery.confirm == .any)
            ), ("request_id", .optional(challenge.requestID)),
        ]
        if let actionKey = challenge.actionKey { members.append(("action_key", .string(actionKey))) }
        if challenge.numberDigits > 0 {
            members.append(
                (
                    "number_matching",
                    .object([
                        ("digits", .integer(Int64(challenge.numberDigits))), ("number", .optional(secrets.number)),
                    ])
                ))
        }
        if let reason = challenge.deniedReason { members.append(("denied_reason", .string(reason))) }
        if challenge.requiresSession { members.append(("require_session", .boolean(true))) }
        if let quietUntilMs = challenge.quietUntilMs {
            members.append(("quiet_until", .string(Timestamp.rfc3339Seconds(quietUntilMs))))
        }
        if let evidence { members.append(("evidence", evidence)) }
        return .object(members)
    }

    /// For a challenge, read by a device: the requirements of an approval, and the identifier of the action.
    static func challenge(forDevice challenge: Challenge) -> JSONValue? {
        var members: [(name: String, value: JSONValue)] = []
        if let actionID = challenge.actionID { members.append(("action_id", .string(actionID))) }
        if challenge.numberDigits > 0 { members.append(("number_digits", .integer(Int64(challenge.numberDigits)))) }
        if challenge.requiresSession { members.append(("require_session", .boolean(true))) }
        return members.isEmpty ? nil : .object(members)
    }

    private static func isInEffect(_ challenge: Challenge) -> Bool {
        let redelivery = StorePolicy.completed(challenge.redelivery)
        let isRedeliverySet =
            Int(redelivery.maxAttempts) != StorePolicy.maxAttempts
            || Int(redelivery.expectedLatencyMs) != StorePolicy.expectedLatencyMs || redelivery.adaptive
            || redelivery.confirm == .any
        return challenge.factor == nil || isRedeliverySet || !challenge.fallbacks.isEmpty
            || challenge.requestID != nil || challenge.actionKey != nil || challenge.numberDigits > 0
            || challenge.requiresSession || challenge.quietUntilMs != nil
    }

    /// The signed answer and the key that verifies it.
    private static func evidence(_ challenge: Challenge, _ shown: ChallengeSecrets.Evidence) -> JSONValue? {
        guard shown != .never, let answer = challenge.signedAnswer, let key = challenge.responderKey,
            let factor = challenge.responder
        else { return nil }
        return .object([
            ("factor_sid", .string(factor.rawValue)), ("signed_answer", .string(answer)),
            ("public_key", .string(Base64.encode(key))),
        ])
    }
}
