import ChallengeModel
import Wire

/// The refusal of a request, for the caller. It becomes an HTTP error, an event `request.rejected` or the message of a
/// command. It never contains a secret, a token or an identity.
package struct Problem: Error, Sendable, Equatable {
    package let code: ProblemCode
    package let message: String
    /// The parameter that breaks a rule; nil: no single parameter does.
    package var violation: RuleViolation?
    /// Seconds until a retry can succeed; nil: unknown.
    package var retryAfterSeconds: Int?
    /// The state of the identity's limit of creations; nil: nothing was counted.
    package var allowance: CreationAllowance?

    package static let notFound = "The requested resource was not found"
    /// The name of the HTTP header.
    package static let idempotencyKey = "Idempotency-Key"

    package init(
        _ code: ProblemCode, _ message: String, retryAfterSeconds: Int? = nil, allowance: CreationAllowance? = nil
    ) {
        self.code = code
        self.message = message
        self.retryAfterSeconds = retryAfterSeconds
        self.allowance = allowance
    }

    package init(_ violation: RuleViolation) {
        self.init(violation.code, "Invalid parameter: \(violation)")
        self.violation = violation
    }

    package init(_ refusal: LimitRefusal) {
        let what =
            switch refusal.kind {
            case .creations: "too many challenges were made for the identity"
            case .pending: "too many challenges of the identity are pending"
            case .numbers: "too many wrong numbers were sent for the identity"
            case .quiet: "the person denied too often, nothing is pushed for a while; the app finds it by polling"
            }
        let instead = refusal.fallbacks.isEmpty ? "" : "; fall back to " + refusal.fallbacks.joined(separator: ", ")
        self.init(
            .tooManyRequests, "Too many requests: \(what)\(instead)", retryAfterSeconds: refusal.retryAfterSeconds,
            allowance: refusal.allowance)
    }

    package init(_ refusal: ApprovalRefusal) {
        let reason =
            switch refusal {
            case .numberMissing: "an approval needs Number, as the backend shows it"
            case .numberWrong(let left): "Number is wrong, tries left: \(left)"
            case .numberWrongDenied: "Number was wrong for the third time, the challenge is denied"
            case .numbersClosed(let untilMs):
                "too many wrong numbers were sent, no number is taken before \(Timestamp.rfc3339Seconds(untilMs)); a denial is"
            case .sessionMissing: "an approval needs SessionToken, the person must sign in to the app"
            case .sessionWrong:
                "SessionToken is unknown, over, used, or another person's or device's: sign in again"
            }
        self.init(.answerRefused, "Challenge verification failed: \(reason)")
    }
}
