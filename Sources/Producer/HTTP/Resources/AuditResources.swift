import ChallengeModel
import Challenges
import Wire

extension API {
    /// Lists the audit events, newest first.
    func listAuditEvents(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        var filter = AuditFilter(account: account)
        filter.actor = try parameters.text("Actor", length: 1...64)
        filter.subject = try parameters.text("Subject", length: 1...64)
        let paging = try Paging(
            &parameters, call: call, filters: [("Actor", filter.actor), ("Subject", filter.subject)], keys: recordKeys)
        let page = try await store.auditEvents(filter, page: paging.request)
        return .ok(paging.body("audit_events", page, show(call).auditEvent), ignoring: parameters.unread)
    }
}

extension Representation {
    func auditEvent(_ event: AuditEvent) -> JSONValue {
        // Events of an older release may have a text that is no object.
        let detail = event.detail.flatMap { try? JSONParser.parse($0) }
        return .object([
            ("sid", .string(event.sid.rawValue)), ("account_sid", .string(event.account.rawValue)),
            ("date", .string(Timestamp.rfc3339Seconds(event.atMs))), ("actor", .string(event.actor)),
            ("action", .string(event.action)), ("subject", .string(event.subject)),
            ("request_id", .optional(event.requestID)), ("address", .optional(event.address)),
            ("count", .integer(Int64(event.count))),
            ("detail", detail?.members == nil ? .null : detail ?? .null),
        ])
    }
}
