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
            url: try WebhookRules.url(try parameters.required("WebhookUrl"), rules: outbound))
        new.format = try format(&parameters) ?? .form
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
        var parameters = try call.parameters()
        var change = WebhookChange()
        change.friendlyName = try parameters.text("FriendlyName", length: 1...64)
        let eventTypes = try parameters.list("EventTypes")
        if !eventTypes.isEmpty { change.eventTypes = try WebhookRules.eventTypes(eventTypes) }
        change.url = try parameters.text("WebhookUrl").map { text throws(RuleViolation) in
            try WebhookRules.url(text, rules: outbound)
        }
        change.format = try format(&parameters)
        change.isEnabled = try status(&parameters)
        change.version = try version(&parameters)
        let webhook = try await store.updateWebhook(
            call.sid(sid), account: account, service: call.sid(service), change, nowMs: call.nowMs)
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
