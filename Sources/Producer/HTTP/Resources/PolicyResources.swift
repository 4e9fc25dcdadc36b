import ChallengeModel
import Challenges
import Wire

/// Creation, cancellation and approval with the extensions.
extension API {
    /// The reply to a creation, for a new and for a reused challenge.
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

    /// The secrets that a backend may read by its role: the number for roles that may create challenges, the evidence
    /// for role `full`.
    func secrets(of challenge: Challenge, for call: APICall, evidence: Bool? = nil) throws -> ChallengeSecrets {
        guard case .backend(let principal) = call.caller else { return ChallengeSecrets() }
        var secrets = ChallengeSecrets()
        // A challenge expires by the clock, before the sweep closes it.
        let status = ChallengeLifecycle.status(
            stored: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: call.nowMs)
        if !principal.role.parts.isDisjoint(with: [.full, .send]), status == .pending {
            secrets.number = try store.number(of: challenge)
        }
        secrets.evidence = principal.role == .full ? (evidence == true ? .always : .besideOthers) : .never
        return secrets
    }

    // MARK: - Cancel

    /// A backend's POST on a push challenge. A backend may only cancel it.
    func cancelChallenge(_ call: APICall, _ challenge: Challenge) async throws -> APIReply {
        var parameters = try call.parameters()
        guard try parameters.choice("Status", ["canceled": true]) == true else {
            throw APIError(.accessDenied, "Access denied: only the device may answer a challenge, with its own token")
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
                    "FactorSid", "YF and 32 hexadecimal digits, or no value for any factor of the identity")
            }
        }
        new.ttlSeconds = try parameters.integer("Ttl", in: 30...300) ?? 120
        let token = try await store.createSessionToken(new, nowMs: call.nowMs)
        return .created(show(call).sessionToken(new, token: token, nowMs: call.nowMs), ignoring: parameters.unread)
    }
}

/// Values that only some backends may read.
struct ChallengeSecrets: Sendable {
    enum Evidence: Sendable { case never, besideOthers, always }

    var number: String?
    /// When the signed answer and its key are shown: never, only when the reply contains `beckon` anyway, or always.
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
