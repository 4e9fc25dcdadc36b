import ChallengeModel
import Challenges
import Crypto
import Wire

/// The account's alerts, and the webhook that they are posted to.
extension API {
    /// Lists the alerts, newest first.
    func listAlerts(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        var filter = AlertFilter(account: account)
        filter.level = try parameters.choice("LogLevel", ["error": .error, "warning": .warning])
        filter.resource = try parameters.text("ResourceSid", length: 34...34)
        let (start, end) = (try date("StartDate", &parameters), try date("EndDate", &parameters))
        if let start { filter.fromMs = start.ms }
        // A day is meant whole.
        if let end { filter.untilMs = end.ms + (end.isDay ? 86_400_000 : 1000) }
        let paging = try Paging(
            &parameters, call: call,
            filters: [
                ("LogLevel", filter.level?.rawValue), ("ResourceSid", filter.resource), ("StartDate", start?.text),
                ("EndDate", end?.text),
            ], keys: recordKeys)
        let page = try await store.alerts(filter, page: paging.request)
        return .ok(paging.body("alerts", page, show(call).alert), ignoring: parameters.unread)
    }

    func fetchAlert(_ call: APICall, _ sid: String) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard let alert = try await store.alert(call.sid(sid), account: account) else { throw APIError.notFound }
        return .ok(show(call).wholeAlert(alert))
    }

    func fetchDebugger(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard let debugger = try await store.debugger(account) else { throw APIError.notFound }
        return .ok(show(call).debugger(debugger))
    }

    func setDebugger(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        var parameters = try call.parameters()
        let url = try await requiredCustomerURL(&parameters, account: account, service: nil, call: call)
        let debugger = try await store.setDebugger(url: url, account: account, nowMs: call.nowMs)
        return .ok(show(call).debugger(debugger), ignoring: parameters.unread)
    }

    func deleteDebugger(_ call: APICall) async throws -> APIReply {
        let account = try authenticator.backend(call)
        guard try await store.deleteDebugger(account, nowMs: call.nowMs) else { throw APIError.notFound }
        return .noContent
    }

    /// `WebhookUrl` in the form that is stored. One that is refused leaves an alert.
    /// - Parameter service: nil: the URL is the account's.
    /// - Returns: nil when it was not sent.
    func customerURL(
        _ parameters: inout ParameterReader, account: AccountSID, service: ServiceSID?, call: APICall
    ) async throws -> String? {
        let name = "WebhookUrl"
        let sent = parameters.pairs.first { $0.name == name }?.value ?? ""
        do {
            return try parameters.text(name).map { text throws(RuleViolation) in
                try WebhookRules.url(text, rules: outbound)
            }
        } catch {
            if !sent.isEmpty {
                do {
                    try await store.reportRefusedURL(
                        name, digest: Array(SHA256.hash(data: Array(sent.utf8))), account: account, service: service,
                        nowMs: call.nowMs)
                } catch {
                    log.warning("the alert of a refused address was not written", error)
                }
            }
            throw error
        }
    }

    func requiredCustomerURL(
        _ parameters: inout ParameterReader, account: AccountSID, service: ServiceSID?, call: APICall
    ) async throws -> String {
        guard let url = try await customerURL(&parameters, account: account, service: service, call: call) else {
            throw RuleViolation("WebhookUrl", "a value, because it is required")
        }
        return url
    }

    /// An RFC 3339 time, or a day (UTC).
    private func date(
        _ name: String, _ parameters: inout ParameterReader
    ) throws(RuleViolation) -> (ms: Int64, isDay: Bool, text: String)? {
        guard let text = try parameters.filled(name) else { return nil }
        if let ms = Timestamp.epochMs(text) { return (ms, false, text) }
        guard let ms = Timestamp.epochMs(text + "T00:00:00Z") else {
            throw RuleViolation(name, "a day like 2026-01-31 or an RFC 3339 time")
        }
        return (ms, true, text)
    }
}

extension Representation {
    func alert(_ alert: Alert) -> JSONValue { .object(members(of: alert)) }

    /// With what only a single alert shows.
    func wholeAlert(_ alert: Alert) -> JSONValue {
        let details = alert.details
        let words: [(name: String, value: JSONValue)] = details.words.sorted { $0.key < $1.key }.map {
            (name: $0.key, value: .string($0.value))
        }
        let more: [(name: String, value: JSONValue)] = [
            ("request_variables", .null), ("response_body", .optional(details.responseBody)),
            ("response_headers", .null),
            (
                "beckon",
                .object([
                    ("count", .integer(Int64(alert.count))),
                    ("response_status", details.responseStatus.map { .integer(Int64($0)) } ?? .null),
                    ("details", .object(words)),
                ])
            ),
        ]
        return .object(members(of: alert) + more)
    }

    private func members(of alert: Alert) -> [(name: String, value: JSONValue)] {
        [
            ("sid", .string(alert.sid.rawValue)), ("account_sid", .string(alert.account.rawValue)),
            ("service_sid", .optional(alert.service?.rawValue)), ("resource_sid", .string(alert.resource)),
            ("error_code", .string(String(alert.code))), ("log_level", .string(alert.level.rawValue)),
            ("alert_text", .string(alert.text)),
            ("more_info", .string("https://www.twilio.com/docs/errors/\(alert.code)")),
            ("request_method", .optional(alert.details.requestMethod)),
            ("request_url", .optional(alert.details.requestURL)),
            ("date_generated", .string(Timestamp.rfc3339Seconds(alert.createdAtMs))),
            ("date_created", .string(Timestamp.rfc3339Seconds(alert.createdAtMs))),
            ("date_updated", .string(Timestamp.rfc3339Seconds(alert.updatedAtMs))),
            ("url", .string("\(baseURL)/v1/Alerts/\(alert.sid)")),
        ]
    }

    func debugger(_ debugger: Debugger) -> JSONValue {
        .object([
            ("account_sid", .string(debugger.account.rawValue)), ("sid", .string(debugger.sid.rawValue)),
            ("webhook_url", .string(debugger.url)), ("webhook_method", .string("POST")),
            ("date_created", .string(Timestamp.rfc3339Seconds(debugger.createdAtMs))),
            ("date_updated", .string(Timestamp.rfc3339Seconds(debugger.updatedAtMs))),
            ("url", .string("\(baseURL)/v1/Debugger")),
        ])
    }
}
