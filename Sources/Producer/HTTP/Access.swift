import ChallengeModel
import Challenges
import Logging

/// Who may call a route by a method, before anything else is looked at. `docs/api.md` has the same as a table; a test
/// compares the two with what the server does.
struct Access: Sendable, Equatable {
    enum Device: Sendable, Equatable {
        case none
        /// Its own factor's token.
        case token
        /// The access token of an enrolment.
        case accessToken
        /// Nobody has to say who they are: the receipt token in the body says all.
        case receiptToken
        /// A provider's server, which signs its call.
        case signature
    }

    /// Roles of backends.
    var roles: Set<AccountRole>
    var device: Device = .none
}

extension Route {
    /// What is not named here is for `full`, and to be read by `read`.
    func access(_ method: String) -> Access {
        let isRead = method == "GET"
        switch self {
        case .challenge:
            // A backend is told that only devices answer.
            return Access(roles: isRead ? [.full, .send, .read] : [.full, .send], device: .token)
        case .challenges:
            return Access(roles: isRead ? [.full, .send, .read] : [.full, .send], device: isRead ? .token : .none)
        case .challengeReceipts: return Access(roles: [.full, .send], device: .token)
        case .notifications: return Access(roles: [.full, .send])
        case .factors:
            return isRead
                ? Access(roles: [.full, .send, .enrol, .read]) : Access(roles: [.full, .enrol], device: .accessToken)
        case .factor: return Access(roles: isRead ? [.full, .send, .enrol, .read] : [.full], device: .token)
        // Whoever makes these can approve: a sending key must not.
        case .accessTokens, .sessionTokens: return Access(roles: [.full, .enrol])
        case .accessToken: return Access(roles: [.full, .send, .enrol, .read])
        case .timeline: return Access(roles: [.full, .send, .read])
        case .receipts: return Access(roles: [], device: .receiptToken)
        case .hmsReceipts: return Access(roles: [], device: .signature)
        case .auditEvents: return Access(roles: [.full])
        default: return Access(roles: isRead ? [.full, .read] : [.full])
        }
    }

    /// What a device's token must belong to.
    var devicePath: (service: String, identity: String, factor: String?)? {
        switch self {
        case .factor(let service, let identity, let sid): (service, identity, sid)
        case .challenges(let service, let identity), .challenge(let service, let identity, _),
            .challengeReceipts(let service, let identity, _):
            (service, identity, nil)
        default: nil
        }
    }
}

extension API {
    /// Finds out who calls, refuses whom the route is not for, and runs the handler on the caller's behalf.
    func answer(_ call: APICall) async throws -> APIReply {
        do { return try await answerUnmarked(call) } catch {
            let told =
                switch error {
                case let error as APIError: error.code
                case let error as StoreError: APIError(error).code
                default: APICode.internalError
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
        let access = call.route.access(call.method)
        var context = ChangeContext(actor: "anonymous", requestID: call.requestID, address: call.address)
        switch call.credentials {
        case .backend(let login) where ![.receiptToken, .signature].contains(access.device):
            let principal = try await authenticator.principal(login, nowMs: call.nowMs)
            guard !access.roles.isDisjoint(with: principal.role.parts) else {
                // Not 20006, which a published library takes for the end of a list.
                throw APIError(.forbidden, "Access denied: the API key's role is \(principal.role.rawValue)")
            }
            context.actor = principal.actor
            call.caller = .backend(principal)
        case .device(let text) where access.device == .token:
            if call.method != "GET" {
                let request = try deviceRequest(call, text)
                let use = try await store.useOfDeviceToken(request.fingerprint, nowMs: call.nowMs)
                if let use {
                    guard use == request.request else { throw replayed() }
                    // The factor is gone, and with it what would prove the token.
                    if case .factor = call.route, call.method == "DELETE" { return .noContent }
                }
                context.deviceRequest = request
            }
            let factor = try await device(call, text)
            context.actor = factor.sid.rawValue
            call.caller = .device(factor)
            await noteSigned(by: factor, call)
        default: break
        }
        let identified = call
        do {
            var reply = try await ChangeContext.$current.withValue(context) { try await handle(identified) }
            if call.ignoresIdempotencyKey { reply.ignored.insert(IdempotencyRules.header, at: 0) }
            return reply
        } catch StoreError.tokenReplayed {
            throw replayed()
        } catch StoreError.limited(let refusal) {
            metrics.limited(refusal.kind.rawValue)
            throw APIError(refusal)
        }
    }

    /// Whether the caller may still call; what it was allowed is not looked at again.
    func checkAgain(_ call: APICall) async throws {
        switch call.credentials {
        case .backend(let login): _ = try await authenticator.principal(login, nowMs: call.nowMs)
        case .device(let token): _ = try await device(call, token)
        case nil: break
        }
    }

    private func device(_ call: APICall, _ token: String) async throws -> Factor {
        guard let path = call.route.devicePath else { throw APIError.notFound }
        let service: ServiceSID = try call.sid(path.service)
        let factor: FactorSID? = try path.factor.map { text throws(APIError) in try call.sid(text) }
        return try await authenticator.device(
            token, service: service, identity: path.identity, factor: factor, nowMs: call.nowMs)
    }

    /// A factor that is used is not cleared away. Nobody's request fails of this.
    private func noteSigned(by factor: Factor, _ call: APICall) async {
        do {
            try await store.noteSigned(by: factor, nowMs: call.nowMs)
        } catch {
            log.warning("a device's last request was not noted", error)
        }
    }

    private func deviceRequest(_ call: APICall, _ text: String) throws -> DeviceRequest {
        do {
            return try DeviceToken(text).request(call.fingerprint)
        } catch {
            metrics.authenticationFailed(.device)
            throw error
        }
    }

    private func replayed() -> APIError {
        metrics.authenticationFailed(.device)
        return APIError(.invalidToken, "Invalid token: it was used for another request already, sign a new one")
    }
}
