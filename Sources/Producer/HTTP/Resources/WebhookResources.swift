import ChallengeModel
import Challenges

extension API {
    func createWebhook(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        var new = NewWebhook(
            account: account, service: service.sid,
            friendlyName: try parameters.required("FriendlyName", length: 1...64),
            eventTypes: try WebhookRules.eventTypes(try parameters.list("EventTypes")),
            url: try await requiredCustomerURL(&parameters, account: account, service: service.sid, call: call))
        new.format = try format(&parameters) ?? .form
        new.needsConsent = try parameters.boolean("Handshake") ?? false
        if new.needsConsent, new.format == .form { throw Self.handshakeOfForm }
        new.isEnabled = try status(&parameters) ?? true
        new.version = try version(&parameters) ?? "v2"
        let webhook = try await store.createWebhook(new, nowMs: call.nowMs)
        return .created(show(call).webhook(webhook), ignoring: parameters.unread)
    }

    func listWebhooks(_ call: APICall, _ service: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let service = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.webhooks(account: account, service: service.sid, page: paging.request)
        return .ok(paging.body("webhooks", page, show(call).webhook), ignoring: parameters.unread)
    }

    func fetchWebhook(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let found = try await store.webhook(call.sid(sid), account: account, service: call.sid(service))
        guard let webhook = found else { throw APIError.notFound }
        return .ok(show(call).webhook(webhook))
    }

    func updateWebhook(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let owner = try await self.service(service, account: account, call: call)
        var parameters = try call.parameters()
        var change = WebhookChange()
        change.friendlyName = try parameters.text("FriendlyName", length: 1...64)
        let eventTypes = try parameters.list("EventTypes")
        if !eventTypes.isEmpty { change.eventTypes = try WebhookRules.eventTypes(eventTypes) }
        change.url = try await customerURL(&parameters, account: account, service: owner.sid, call: call)
        change.format = try format(&parameters)
        change.needsConsent = try parameters.boolean("Handshake")
        if change.needsConsent == true {
            let known = try await store.webhookEndpoint(call.sid(sid), account: account, service: owner.sid)
            guard change.format ?? known?.format ?? .form != .form else { throw Self.handshakeOfForm }
        }
        change.isEnabled = try status(&parameters)
        change.version = try version(&parameters)
        let webhook = try await store.updateWebhook(
            call.sid(sid), account: account, service: owner.sid, change, nowMs: call.nowMs)
        return .ok(show(call).webhook(webhook), ignoring: parameters.unread)
    }

    func deleteWebhook(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard
            try await store.deleteWebhook(
                call.sid(sid), account: account, service: call.sid(service), nowMs: call.nowMs)
        else {
            throw APIError.notFound
        }
        return .noContent
    }

    private static let handshakeOfForm = RuleViolation(
        "Handshake", "false, or a Format of json, cloudevents or cloudevents-binary")

    private func format(_ parameters: inout ParameterReader) throws(RuleViolation) -> WebhookFormat? {
        try parameters.choice(
            "Format",
            ["form": .form, "json": .json, "cloudevents": .structured, "cloudevents-binary": .binary])
    }

    private func status(_ parameters: inout ParameterReader) throws(RuleViolation) -> Bool? {
        try parameters.choice("Status", ["enabled": true, "disabled": false])
    }

    private func version(_ parameters: inout ParameterReader) throws(RuleViolation) -> String? {
        try parameters.choice("Version", ["v1": "v1", "v2": "v2"])
    }
}
