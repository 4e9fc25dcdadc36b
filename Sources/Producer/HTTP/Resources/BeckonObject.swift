import ChallengeModel
import ChallengeStore

/// The member `beckon`: what no client of the original API knows, in one place, and only when it is in effect.
enum BeckonObject {
    /// Of a service; nil when everything is as by default.
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
                    attempts: policy.maxAttempts, latencyMs: policy.expectedLatencyMs,
                    isAdaptive: policy.isLatencyAdaptive, isAny: policy.confirmsByAny)
            ),
            ("fallbacks", .array(policy.fallbacks.map { .string($0) })),
            ("max_factors", .integer(Int64(policy.maxFactors))), ("when_full", .string(policy.whenFull.rawValue)),
            ("unreachable_factors", .string(policy.unreachableFactors.rawValue)),
        ])
    }

    private static func redelivery(attempts: Int?, latencyMs: Int?, isAdaptive: Bool, isAny: Bool) -> JSONValue {
        .object([
            ("max_attempts", .integer(Int64(attempts ?? 4))), ("expected_latency", .integer(Int64(latencyMs ?? 8000))),
            ("adaptive", .boolean(isAdaptive)), ("confirm", .string(isAny ? "any" : "each")),
        ])
    }

    /// Of a challenge, for a backend: the settings in effect when one of them is an extension's; nil: none is.
    static func challenge(_ challenge: Challenge) -> JSONValue? {
        let redelivery = challenge.redelivery
        let isFanOut = challenge.factor == nil
        let attempts = redelivery.maxAttempts == 0 ? 4 : Int(redelivery.maxAttempts)
        let latency = redelivery.expectedLatencyMs == 0 ? 8000 : Int(redelivery.expectedLatencyMs)
        let isRedeliverySet =
            attempts != 4 || latency != 8000 || redelivery.adaptive || redelivery.confirm == .any
        guard isFanOut || isRedeliverySet || !challenge.fallbacks.isEmpty || challenge.requestID != nil else {
            return nil
        }
        return .object([
            ("fan_out", .boolean(isFanOut)), ("fallbacks", .array(challenge.fallbacks.map { .string($0) })),
            (
                "redelivery",
                self.redelivery(
                    attempts: attempts, latencyMs: latency, isAdaptive: redelivery.adaptive,
                    isAny: redelivery.confirm == .any)
            ),
            ("request_id", .optional(challenge.requestID)),
        ])
    }
}
