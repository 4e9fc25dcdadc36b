import ChallengeModel
import Challenges
import ServiceSupport

extension API {
    /// Authenticates the caller, refuses callers that may not use the route, and runs the handler on the caller's
    /// behalf.
    func answer(_ call: APICall) async throws -> APIReply {
        do { return try await answerUnmarked(call) } catch {
            let told =
                switch error {
                case let error as APIError: error.code
                case let error as StoreError: APIError(error).code
                default: ProblemCode.internalError
                }
            let isDevice = if case .device = call.credentials { true } else { false }
            if let action = RefusalMark.Action(told, isDevice: isDevice) {
                await refusals.note(action, call, code: told)
            }
            throw error
        }
    }

    private func answerUnmarked(_ call: APICall) async throws -> APIReply {
        var call = call
        let operation = call.operation
        var context = ChangeContext(actor: "anonymous", requestID: call.requestID, address: call.address)
        switch call.credentials {
        case .backend(let login) where !operation.device.isWithoutCredentials:
            let principal = try await authenticator.principal(login, nowMs: call.nowMs)
            guard operation.roles.include(principal.role) else {
                // Not 20006, because a published library reads it as the end of a list.
                throw APIError(.forbidden, "Access denied: the API key's role is \(principal.role.rawValue)")
            }
            context.actor = principal.actor
            call.caller = .backend(principal)
            if let context = call.trace?.begin(isTrusted: true) { call.traceparent = context }
        case .device(let presented) where operation.device.isToken:
            if operation.method != .get {
                let request = try tokenUse(call, presented)
                let use = try await store.useOfDeviceToken(request.fingerprint, nowMs: call.nowMs)
                if let use {
                    guard use == request.request else { throw replayed() }
                    // The factor, which could prove the token, was deleted.
                    if operation.traits.contains(.removesCaller) { return .noContent }
                }
                context.tokenUse = request
            }
            let factor = try await device(call, presented)
            context.actor = factor.sid.rawValue
            call.caller = .device(factor)
            await noteSigned(by: factor, call)
        default: break
        }
        if case .backend = call.caller {} else { call.traceparent = call.trace?.begin(isTrusted: false) }
        let identified = call
        let line = LogContext(requestID: call.requestID, trace: call.traceparent)
        do {
            var reply = try await LogContext.$current.withValue(line) {
                try await ChangeContext.$current.withValue(context) { try await operation.handle(self, identified) }
            }
            if call.ignoresIdempotencyKey { reply.ignored.insert(IdempotencyRules.header, at: 0) }
            return reply
        } catch StoreError.tokenReplayed {
            throw replayed()
        } catch StoreError.limited(let refusal) {
            metrics.limited(refusal.kind.rawValue)
            throw APIError(Problem(refusal))
        }
    }

    /// Checks that the caller of a waiting request is still valid. Its permission for the route is not checked again.
    func checkAgain(_ call: APICall) async throws {
        switch call.credentials {
        case .backend(let login): _ = try await authenticator.principal(login, nowMs: call.nowMs)
        case .device(let presented): _ = try await device(call, presented)
        case nil: break
        }
    }

    /// The factor whose token was sent. It must be the factor of the path.
    private func device(_ call: APICall, _ presented: PresentedToken) async throws -> Factor {
        let service: ServiceSID = try call.sid(call.service)
        let factor: FactorSID? = call.operation.device == .factorToken ? try call.sid(call.item) : nil
        return try await authenticator.device(
            presented, service: service, identity: call.identity, factor: factor, known: call.caller?.factor,
            nowMs: call.nowMs)
    }

    /// Records that the factor is used, so that it is not deleted. A failure here never fails the request.
    private func noteSigned(by factor: Factor, _ call: APICall) async {
        do {
            try await store.noteSigned(by: factor, nowMs: call.nowMs)
        } catch {
            log.warning("the time of a device's last request was not recorded", error)
        }
    }

    private func tokenUse(_ call: APICall, _ presented: PresentedToken) throws -> TokenUse {
        do {
            return try presented.token.get().request(call.fingerprint)
        } catch {
            metrics.authenticationFailed(.device)
            throw error
        }
    }

    private func replayed() -> APIError {
        metrics.authenticationFailed(.device)
        return APIError(StoreError.tokenReplayed)
    }
}
