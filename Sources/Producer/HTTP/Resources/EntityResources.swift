import ChallengeModel
import Challenges
import Wire

extension API {
    // MARK: - Access tokens

    func createAccessToken(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        let new: NewAccessToken
        do {
            let identity = try TextRules.identity(try parameters.required("Identity"))
            _ = try parameters.required("FactorType")
            _ = try parameters.choice("FactorType", ["push": true])
            new = NewAccessToken(
                account: account, service: service.sid, identity: identity,
                factorFriendlyName: try parameters.text("FactorFriendlyName", length: 0...64),
                ttlSeconds: try parameters.integer("Ttl", in: 60...300) ?? 60)
        } catch {
            throw error.renamed(code: .accessTokenParameters)
        }
        let (accessToken, secret) = try await store.createAccessToken(new, nowMs: call.nowMs)
        let token = AccessTokenText.make(account: account, secret: secret)
        return .created(show(call).accessToken(accessToken, token: token), ignoring: parameters.unread)
    }

    func fetchAccessToken(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let found = try await store.accessToken(
            call.sid(sid), account: account, service: call.sid(service))
        guard let found else { throw APIError.notFound }
        return .ok(show(call).accessToken(found, token: nil))
    }

    // MARK: - Entities

    func createEntity(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let identity = try TextRules.identity(try parameters.required("Identity"))
        let entity = try await store.createEntity(
            account: account, service: call.sid(service), identity: identity, nowMs: call.nowMs)
        return .created(show(call).entity(entity), ignoring: parameters.unread)
    }

    func listEntities(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.entities(account: account, service: service.sid, page: paging.request)
        return .ok(paging.body("entities", page, show(call).entity), ignoring: parameters.unread)
    }

    func fetchEntity(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        return .ok(show(call).entity(try await entity(identity, service: call.sid(service), account: account)))
    }

    func deleteEntity(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let isDeleted = try await store.deleteEntity(
            account: account, service: call.sid(service), identity: identity, nowMs: call.nowMs)
        guard isDeleted else { throw APIError.notFound }
        return .noContent
    }

    /// How much of each limit the identity has used.
    func fetchLimits(_ call: APICall, _ service: String, _ identity: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service: ServiceSID = try call.sid(service)
        let found = try await store.limits(account: account, service: service, identity: identity, nowMs: call.nowMs)
        guard let (entity, limits) = found else { throw APIError.notFound }
        return .ok(
            .object([
                ("account_sid", .string(account.rawValue)), ("service_sid", .string(service.rawValue)),
                ("entity_sid", .string(entity.sid.rawValue)), ("identity", .string(entity.identity)),
                ("limits", .array(limits.map(show(call).limit))),
            ]))
    }
}

extension Representation {
    func limit(_ standing: LimitStanding) -> JSONValue {
        .object([
            ("limit", .string(standing.kind.rawValue)), ("factor_sid", .optional(standing.factor?.rawValue)),
            ("maximum", .integer(Int64(standing.maximum))), ("used", .integer(Int64(standing.used))),
            ("reset", .optional(standing.resetMs.map { Timestamp.rfc3339Seconds($0) })),
            ("blocked_until", .optional(standing.blockedUntilMs.map { Timestamp.rfc3339Seconds($0) })),
        ])
    }
}
