import ChallengeModel
import Challenges
import Logging
import Wire

extension API {
    func createChallenge(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service: ServiceSID = try call.sid(service)
        var parameters = try call.parameters()
        let new = try newChallenge(
            &parameters, account: account, service: service, identity: identity, call: call)
        let isCode = new.factor?.isCodeFactor == true
        let code = isCode ? try CodeRules.payload(&parameters) : nil
        // This comes before all rules for new challenges: a backend repeats its request when the first reply was lost,
        // also after the challenge has ended, its factor was deleted, or the outbox is full.
        if let replay = try await replay(call, of: new, ignoring: parameters.unread) { return replay }
        try admit()
        try ChallengeRules.expiry(new.expiresAtMs, nowMs: call.nowMs)
        if isCode { return try await createCodeChallenge(call, new, code: code, ignoring: parameters.unread) }
        return try reply(call, to: try await store.create(new, nowMs: call.nowMs), ignoring: parameters.unread)
    }

    /// The reply to a creation whose idempotency key already created a challenge; nil: the key is unused, or the
    /// request has none.
    func replay(_ call: APICall, of new: NewChallenge, ignoring ignored: [String]) async throws -> APIReply? {
        guard let key = new.idempotency, let known = try await store.challenge(madeWith: key, nowMs: call.nowMs) else {
            return nil
        }
        return try reply(call, to: ChallengeCreation(challenge: known, outcome: .replayed), ignoring: ignored)
    }

    /// The expiry may have passed; the caller of this method must refuse it.
    private func newChallenge(
        _ parameters: inout ParameterReader, account: AccountSID, service: ServiceSID, identity: String, call: APICall
    ) throws -> NewChallenge {
        var request = CreationRequest(account: account, service: service.rawValue, identity: identity)
        request.factor = try parameters.filled(ChallengeField.factor.rawValue)
        let isCode = request.factor.flatMap { FactorSID($0) }?.isCodeFactor == true
        request.message =
            isCode
            ? try parameters.text(ChallengeField.message.rawValue, .lines) ?? ""
            : try parameters.required(ChallengeField.message.rawValue, .lines)
        for text in try parameters.list(ChallengeField.fields.rawValue, .lines) {
            request.fields.append(try ChallengeRules.field(text))
        }
        if let text = try parameters.text(ChallengeField.expiration.rawValue) { request.expiry = .date(text) }
        if let text = try parameters.text(ChallengeField.hiddenDetails.rawValue, .lines) {
            request.hiddenDetails = .json(text)
        }
        request.traceparent = call.traceparent
        request.idempotency = try IdempotencyRules.key(
            call.idempotencyKey, account: account, method: call.method, path: call.path, parameters)
        if !isCode {
            request.fallbacks = try parameters.list(ChallengeField.fallback.rawValue)
            request.actionKey = try parameters.text(ChallengeField.actionKey.rawValue)
            request.requiresNumber = try parameters.boolean(ChallengeField.numberMatching.rawValue)
            request.numberDigits = try parameters.integer(
                ChallengeField.numberDigits.rawValue, in: ChallengeRules.numberDigits)
            request.requiresSession = try parameters.boolean(ChallengeField.requireSession.rawValue)
            request.redelivery = try redelivery(&parameters)
        }
        return try ChallengeRules.check(request, nowMs: call.nowMs)
    }

    private func redelivery(_ parameters: inout ParameterReader) throws(RuleViolation) -> Redelivery {
        var redelivery = Redelivery()
        if let attempts = try parameters.integer(ChallengeField.maxAttempts.rawValue, in: ChallengeRules.maxAttempts) {
            redelivery.maxAttempts = UInt32(attempts)
        }
        switch try ChallengeRules.latency(&parameters, ChallengeField.expectedLatency.rawValue) {
        case .adaptive: redelivery.adaptive = true
        case .fixed(let latencyMs): redelivery.expectedLatencyMs = UInt32(latencyMs)
        case .unset, nil: break
        }
        if let confirm = try parameters.choice(
            ChallengeField.confirm.rawValue, ["each": Confirmation.each, "any": Confirmation.any])
        {
            redelivery.confirm = confirm
        }
        return redelivery
    }

    /// A device's list contains the challenges that are addressed to it. Reading a pending challenge counts as a
    /// receipt.
    func listChallenges(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let service: ServiceSID = try call.sid(service)
        let caller = try authenticator.caller(call)
        var parameters = try call.parameters()
        let factorText = try parameters.text("FactorSid")
        let statuses: KeyValuePairs<String, ChallengeStatus> = [
            "pending": .pending, "expired": .expired, "approved": .approved, "denied": .denied,
        ]
        let statusText = try parameters.text("Status")
        let orderText = try parameters.text("Order")
        var filter = ChallengeFilter(account: caller.account, service: service, identity: identity)
        filter.status = try parameters.choice("Status", statuses)
        filter.descending = try parameters.choice("Order", ["asc": false, "desc": true]) ?? false
        if let factorText {
            guard let factor = FactorSID(factorText) else {
                throw RuleViolation("FactorSid", "YF and 32 hexadecimal digits")
            }
            filter.factor = factor
        }
        if let factor = caller.factor {
            guard filter.factor == nil || filter.factor == factor.sid else {
                throw APIError(.accessDenied, "Access denied: a device may read only its own challenges")
            }
            filter.factor = factor.sid
        }
        let paging = try Paging(
            &parameters, call: call,
            filters: [("FactorSid", factorText), ("Status", statusText), ("Order", orderText)], keys: recordKeys)
        let page = try await store.challenges(filter, page: paging.request, nowMs: call.nowMs)
        if page.items.isEmpty, case .backend(let principal) = caller {
            try await entity(identity, service: service, account: principal.account)
        }
        await polled(page.items, by: caller, call: call)
        let body = paging.body("challenges", page) {
            show(call).challenge($0, device: caller.factor?.sid, nowMs: call.nowMs)
        }
        return .ok(body, ignoring: parameters.unread)
    }

    /// - Parameter parameters: the parameters of the request. Those that are not read are named as ignored.
    func fetchChallenge(
        _ call: APICall, _ parameters: ParameterReader, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        let (challenge, caller) = try await challenge(call, service, identity, sid)
        var parameters = parameters
        let evidence = try parameters.boolean("Evidence")
        var reply = APIReply.ok(
            show(call).challenge(
                challenge, device: caller.factor?.sid, nowMs: call.nowMs,
                secrets: try secrets(of: challenge, for: call, evidence: evidence)), ignoring: parameters.unread)
        if isPending(challenge, call), !challenge.isCodeChallenge {
            reply.headers["Twilio-Verify-Signature-Fields"] = SignedAnswer.headerValue
        }
        if caller.factor == nil { try await addDelivery(to: &reply, challenge) }
        await polled([challenge], by: caller, call: call)
        return reply
    }

    /// Only for devices: a backend cannot answer for a person, except with a one-time code from the person.
    func answerChallenge(
        _ call: APICall, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        let (challenge, caller) = try await challenge(call, service, identity, sid)
        var parameters = try call.parameters()
        guard let factor = caller.factor else {
            if try parameters.text("Status") == nil {
                if challenge.isCodeChallenge || challenge.allowsCode {
                    return try await answerCodeChallenge(call, challenge)
                }
                guard try !challenge.hasCodeFallback || parameters.text("AuthPayload") == nil else {
                    throw APIError(
                        .answerRefused,
                        "Challenge verification failed: a code cannot approve a challenge that needs a number or a session token"
                    )
                }
            }
            return try await cancelChallenge(call, challenge)
        }
        guard try parameters.text("Status") == nil else {
            throw APIError(.accessDenied, "Access denied: only a backend may cancel a challenge")
        }
        let payload = try parameters.required("AuthPayload", length: 1...CompactJWT.maxLength, .lines)
        let metadata = try metadata(&parameters)
        let shown = show(call).challenge(challenge, device: factor.sid, nowMs: call.nowMs)
        let isApproval: Bool
        switch SignedAnswer.verdict(on: payload, publicKey: factor.publicKey, representation: shown) {
        case .approved: isApproval = true
        case .denied: isApproval = false
        case .refused(let reason):
            // A challenge that has ended gets its error even with a wrong signature, because no signature would count.
            try challenge.requireOpen(nowMs: call.nowMs)
            metrics.answer(.refused)
            throw APIError(.answerRefused, "Challenge verification failed: \(reason)")
        }
        var answer = Answer(
            challenge: challenge.sid, factor: factor.sid, isApproval: isApproval, signedAnswer: payload,
            metadata: metadata)
        answer.number = try parameters.text("Number", length: 0...16)
        answer.sessionToken = try parameters.text("SessionToken", length: 0...256)
        do {
            let answered = try await store.answer(answer, nowMs: call.nowMs)
            metrics.answer(isApproval ? .approved : .denied)
            return .ok(
                show(call).challenge(answered, device: factor.sid, nowMs: call.nowMs), ignoring: parameters.unread)
        } catch let error as StoreError where error == .alreadyResponded || error == .alreadyExpired {
            metrics.answer(.late)
            throw error
        } catch StoreError.approvalRefused(let refusal) {
            metrics.answer(refusal == .numberWrongDenied ? .denied : .refused)
            throw APIError(Problem(refusal))
        }
    }

    /// Pushes the same challenge again.
    func createNotification(
        _ call: APICall, _ service: String, _ identity: String, _ sid: String
    ) async throws -> APIReply {
        let account = try authenticator.backend(call)
        try admit()
        let service: ServiceSID = try call.sid(service)
        let found = try await store.challenge(
            call.sid(sid), account: account, service: service, identity: identity, factor: nil)
        guard let challenge = found else { throw APIError.notFound }
        var parameters = try call.parameters()
        let ttl = try parameters.integer("Ttl", in: 0...300) ?? 300
        let notification = try await store.createNotification(
            challenge: challenge.sid, ttlSeconds: ttl, nowMs: call.nowMs)
        return .created(
            show(call).notification(notification, of: challenge, ttl: ttl, nowMs: call.nowMs),
            ignoring: parameters.unread)
    }

    // MARK: -

    /// The challenge in the path. A device finds only challenges that are addressed to it.
    func challenge(
        _ call: APICall, _ service: String, _ identity: String, _ text: String
    ) async throws -> (Challenge, Caller) {
        let service: ServiceSID = try call.sid(service)
        let caller = try authenticator.caller(call)
        let found = try await store.challenge(
            call.sid(text), account: caller.account, service: service, identity: identity, factor: caller.factor?.sid)
        guard let found else { throw APIError.notFound }
        return (found, caller)
    }

    private func isPending(_ challenge: Challenge, _ call: APICall) -> Bool {
        status(of: challenge, call) == .pending
    }

    private func status(of challenge: Challenge, _ call: APICall) -> ChallengeStatus {
        ChallengeLifecycle.status(
            stored: challenge.status, expiresAtMs: challenge.expiresAtMs, nowMs: call.nowMs)
    }

    /// Records a read as a receipt. The reply does not depend on its success: the device shows the challenge anyway,
    /// and the next read tries again.
    private func polled(_ challenges: [Challenge], by caller: Caller, call: APICall) async {
        // A HEAD request does not show the challenge to the device.
        guard let factor = caller.factor, !call.isHead else { return }
        let pending = challenges.filter { isPending($0, call) }.map(\.sid)
        guard !pending.isEmpty else { return }
        do {
            try await store.recordPoll(pending, factor: factor.sid, nowMs: call.nowMs)
        } catch {
            log.warning("a poll was not recorded as a receipt", error)
        }
    }
}
