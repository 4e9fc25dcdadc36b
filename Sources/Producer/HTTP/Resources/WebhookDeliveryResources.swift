import ChallengeModel
import Challenges
import Wire

/// What the webhook relay does for a webhook, and what its customer may ask of it.
extension API {
    /// How long the former secret signs beside a new one.
    private static let formerSecretMs: Int64 = 24 * 3_600_000

    /// A new secret for the headers of Standard Webhooks. It is shown once.
    func createWebhookSecret(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let webhook: WebhookSID = try call.sid(sid)
        let secret = try await store.rotateWebhookSecret(
            webhook, account: account, service: call.sid(service), keepFormerMs: Self.formerSecretMs,
            nowMs: call.nowMs)
        return .created(
            .object([
                ("webhook_sid", .string(webhook.rawValue)), ("secret", .string("whsec_" + Base64.encode(secret))),
                ("former_valid_until", .string(Timestamp.rfc3339Seconds(call.nowMs + Self.formerSecretMs))),
                ("date_created", .string(Timestamp.rfc3339Seconds(call.nowMs))),
            ]), ignoring: [])
    }

    func listWebhookAttempts(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let paging = try Paging(&parameters, call: call, keys: recordKeys)
        let page = try await store.webhookAttempts(
            call.sid(sid), account: account, service: call.sid(service), page: paging.request)
        return .ok(paging.body("attempts", page, show(call).webhookAttempt), ignoring: parameters.unread)
    }

    /// Events that wait for another attempt, and those that were given up or held.
    func listWebhookDeliveries(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let state: WebhookDelivery.State? = try parameters.choice(
            "Status", ["waiting": .waiting, "exhausted": .exhausted, "aborted": .aborted, "held": .held])
        let paging = try Paging(
            &parameters, call: call, filters: [("Status", state?.rawValue)], keys: recordKeys)
        let page = try await store.webhookDeliveries(
            call.sid(sid), account: account, service: call.sid(service), state: state, page: paging.request)
        return .ok(paging.body("deliveries", page, show(call).webhookDelivery), ignoring: parameters.unread)
    }

    /// Sends again what was not delivered: one event, or all since a time.
    func createWebhookReplay(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let event = try parameters.text("EventId", length: 1...256)
        let since = try parameters.text("Since").map { text throws(RuleViolation) in
            guard let ms = Timestamp.epochMs(text) else { throw RuleViolation("Since", "an RFC 3339 time") }
            return ms
        }
        guard event == nil || since == nil else { throw RuleViolation("Since", "nothing beside EventId") }
        let count = try await store.replayWebhook(
            call.sid(sid), account: account, service: call.sid(service),
            event.map { .event($0) } ?? .since(since ?? 0), nowMs: call.nowMs)
        return .created(.object([("events", .integer(Int64(count)))]), ignoring: parameters.unread)
    }

    /// Sends an event of type `webhook.test` to this webhook alone.
    func createWebhookTest(_ call: APICall, _ service: String, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        let id = try await store.testWebhook(
            call.sid(sid), account: account, service: call.sid(service), nowMs: call.nowMs)
        return .created(.object([("event_id", .string(id))]), ignoring: [])
    }
}

extension Representation {
    func webhookAttempt(_ attempt: WebhookAttempt) -> JSONValue {
        .object([
            ("event_id", .string(attempt.eventID)), ("event_type", .string(attempt.eventType)),
            ("date", .string(Timestamp.rfc3339Milliseconds(attempt.atMs))), ("duration_ms", .integer(attempt.tookMs)),
            ("status", .integer(Int64(attempt.status))),
            ("error_code", attempt.code == 0 ? .null : .string(String(attempt.code))),
            ("reason", attempt.reason.isEmpty ? .null : .string(attempt.reason)),
        ])
    }

    func webhookDelivery(_ delivery: WebhookDelivery) -> JSONValue {
        .object([
            ("event_id", .string(delivery.eventID)), ("event_type", .string(delivery.eventType)),
            ("status", .string(delivery.state.rawValue)), ("attempts", .integer(Int64(delivery.failures))),
            ("next_attempt", delivery.dueMs.map { .string(Timestamp.rfc3339Seconds($0)) } ?? .null),
            ("last_status", .integer(Int64(delivery.status))),
            ("error_code", delivery.code == 0 ? .null : .string(String(delivery.code))),
            ("reason", delivery.reason.isEmpty ? .null : .string(delivery.reason)),
            ("date_created", .string(Timestamp.rfc3339Seconds(delivery.createdMs))),
        ])
    }
}
