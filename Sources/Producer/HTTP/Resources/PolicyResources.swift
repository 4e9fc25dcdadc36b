import ChallengeModel
import Challenges
import Wire

/// Creating, canceling and approving under the extensions.
extension API {
    /// The parameters of a creation that the original API does not have.
    func readPolicies(_ parameters: inout ParameterReader, into new: inout NewChallenge) throws(RuleViolation) {
        new.fallbacks = try ChallengeRules.fallbacks(parameters.list(ChallengeField.fallback.rawValue))
        new.actionKey = try parameters.text(ChallengeField.actionKey.rawValue).map { text throws(RuleViolation) in
            try ChallengeRules.actionKey(text)
        }
        new.requiresNumber = try parameters.boolean(ChallengeField.numberMatching.rawValue)
        new.numberDigits = try parameters.integer(
            ChallengeField.numberDigits.rawValue, in: ChallengeRules.numberDigits)
        new.requiresSession = try parameters.boolean(ChallengeField.requireSession.rawValue)
        try ChallengeRules.completeNumber(&new)
    }

    /// The reply to a creation, whichever way the challenge came about.
    func reply(_ call: APICall, to creation: ChallengeCreation, ignoring ignored: [String]) throws -> APIReply {
        let challenge = creation.challenge
        if creation.outcome == .created { metrics.challengeCreated(source: "http") }
        let body = show(call).challenge(
            challenge, device: nil, nowMs: call.nowMs, secrets: try secrets(of: challenge, for: call))
        var reply =
            creation.outcome == .reused ? APIReply.ok(body, ignoring: ignored) : .created(body, ignoring: ignored)
        if creation.outcome == .replayed { reply.headers["Idempotency-Replayed"] = "true" }
        if let allowance = creation.allowance { reply.headers.merge(allowance.headers) { $1 } }
        return reply
    }

    /// What a backend's role lets it see of a challenge: the number who may create one, the evidence who may do everything.
    func secrets(of challenge: Challenge, for call: APICall, evidence: Bool? = nil) throws -> ChallengeSecrets {
        guard case .backend(let principal) = call.caller else { return ChallengeSecrets() }
        var secrets = ChallengeSecrets()
        // The clock ends a challenge before the sweep does.
        let status = ChallengeLifecycle.status(
            stored: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: call.nowMs)
        if !principal.role.parts.isDisjoint(with: [.full, .send]), status == .pending {
            secrets.number = try store.number(of: challenge)
        }
        secrets.evidence = principal.role == .full ? (evidence == true ? .always : .besideOthers) : .never
        return secrets
    }

    // MARK: - Cancel

    /// A backend's POST on a push challenge: the one thing that it may change is to end it.
    func cancelChallenge(_ call: APICall, _ challenge: Challenge) async throws -> APIReply {
        var parameters = try call.parameters()
        guard try parameters.choice("Status", ["canceled": true]) == true else {
            throw APIError(.accessDenied, "Access denied: only the device answers a challenge, with its own token")
        }
        let canceled = try await store.cancelChallenge(challenge.sid, nowMs: call.nowMs)
        return .ok(
            show(call).challenge(
                canceled, device: nil, nowMs: call.nowMs, secrets: try secrets(of: canceled, for: call)),
            ignoring: parameters.unread)
    }

    // MARK: - Session tokens

    func createSessionToken(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        var new = NewSessionToken(
            account: account, service: service.sid,
            identity: try TextRules.identity(try parameters.required("Identity")))
        if let text = try parameters.filled("FactorSid") {
            new.factor = FactorSID(text)
            guard new.factor != nil else {
                throw RuleViolation(
                    "FactorSid", "YF and 32 hexadecimal digits, or nothing for any factor of the identity")
            }
        }
        new.ttlSeconds = try parameters.integer("Ttl", in: 30...300) ?? 120
        let token = try await store.createSessionToken(new, nowMs: call.nowMs)
        return .created(show(call).sessionToken(new, token: token, nowMs: call.nowMs), ignoring: parameters.unread)
    }
}

/// What a reply shows to some backends only.
struct ChallengeSecrets: Sendable {
    enum Evidence: Sendable { case never, besideOthers, always }

    var number: String?
    /// When the signed answer and its key are shown: never; in an object `beckon` that is shown anyway; always.
    var evidence = Evidence.never
}

extension CreationAllowance {
    var headers: [String: String] {
        [
            "RateLimit-Limit": String(limit), "RateLimit-Remaining": String(remaining),
            "RateLimit-Reset": String(resetSeconds),
        ]
    }
}

extension APIError {
    init(_ refusal: LimitRefusal) {
        var headers = refusal.allowance?.headers ?? [:]
        headers["Retry-After"] = String(refusal.retryAfterSeconds)
        let what =
            switch refusal.kind {
            case .creations: "too many challenges were made for the identity"
            case .pending: "too many challenges of the identity are pending"
            case .numbers: "too many wrong numbers were sent for the identity"
            case .quiet: "the person denied too often, nothing is pushed for a while; the app finds it by polling"
            }
        let instead = refusal.fallbacks.isEmpty ? "" : "; fall back to " + refusal.fallbacks.joined(separator: ", ")
        self.init(.tooManyRequests, "Too many requests: \(what)\(instead)", headers: headers)
    }

    init(_ refusal: ApprovalRefusal) {
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
