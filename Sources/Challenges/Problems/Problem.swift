import ChallengeModel
import Wire

/// Why something was refused, for whoever asked: rendered as an HTTP error, as an event `request.rejected`, or as the message of a
/// command. Never holds a secret, a token or an identity.
package struct Problem: Error, Sendable, Equatable {
    package let code: ProblemCode
    package let message: String
    /// What broke a rule; nil: no single parameter did.
    package var violation: RuleViolation?
    /// From when it may be tried again; nil: nothing is known.
    package var retryAfterSeconds: Int?
    /// Where the identity stands under the limit of creations; nil: nothing was counted.
    package var allowance: CreationAllowance?

    package static let notFound = "The requested resource was not found"
    /// The HTTP header that carries one.
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
