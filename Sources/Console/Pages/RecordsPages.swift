import Wire

/// Webhooks and their attempts, and the audit trail.
struct RecordsPages: Sendable {
    let api: ConsoleAPI

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(path: "/webhooks", name: "Webhooks", get: { try await webhooks($0) }),
            ConsoleRoute(path: "/webhooks/{service}/{sid}", get: { try await webhook($0) }),
            ConsoleRoute(path: "/audit", name: "Audit", get: { try await audit($0) }),
        ]
    }

    // MARK: - Webhooks

    private func webhooks(_ request: ConsoleRequest) async throws -> Answer {
        var rows: [[Escaped]] = []
        // Bounded: services and webhooks have a page of the API each.
        for service in try await api.services().prefix(20) {
            let path = "/v2/Services/\(Percent.encode(service.sid))/Webhooks"
            for webhook in try await api.list("webhooks", path) {
                let sid = webhook.word("sid")
                let isEnabled = webhook.word("status") == "enabled"
                rows.append([
                    tag("a", ["href": "/webhooks/\(Percent.encode(service.sid))/\(Percent.encode(sid))"]) {
                        webhook.word("friendly_name")
                    },
                    Escaped(service.name), badge(isEnabled ? .good : .bad, webhook.word("status")),
                    Escaped(Self.host(webhook.word("webhook_url"))),
                    Escaped((webhook["event_types"]?.elements ?? []).compactMap(\.stringValue).joined(separator: ", ")),
                ])
            }
        }
        let found = rows
        return .page(
            Page(
                title: "Webhooks",
                still: tag("section") {
                    tag("h1") { "Webhooks" }
                    tag("p", ["class": "lead"]) { "Where events are posted to. Open one to see its attempts." }
                },
                live: tag("section", ["class": "card", "aria-label": "Webhooks"]) {
                    found.isEmpty
                        ? tag("p") { "No service has a webhook." }
                        : table(caption: "Webhooks", ["name", "service", "state", "host", "events"], rows: found)
                }, everyMs: 10_000))
    }

    /// A webhook's URL can hold a secret in its path, so only the host is shown.
    private static func host(_ url: String) -> String {
        guard let mark = url.firstRange(of: "://") else { return "–" }
        let rest = url[mark.upperBound...].prefix { !"/?#".contains($0) }
        return String(rest.split(separator: "@").last ?? "–")
    }

    private func webhook(_ request: ConsoleRequest) async throws -> Answer {
        let path = "/v2/Services/\(Percent.encode(request.values[0]))/Webhooks/\(Percent.encode(request.values[1]))"
        async let webhook = api.get(path)
        async let attempts = api.list("attempts", path + "/Attempts")
        async let deliveries = api.list("deliveries", path + "/Deliveries")
        let (about, made, stored) = (try await webhook, try await attempts, try await deliveries)
        return .page(
            Page(
                title: about.word("friendly_name"),
                still: tag("section") {
                    tag("h1") { about.word("friendly_name") }
                    tag("p", ["class": "lead"]) { Self.host(about.word("webhook_url")) }
                },
                live: tag("div", ["class": "stack"]) {
                    tag("section", ["class": "card", "aria-labelledby": "stored"]) {
                        tag("h2", ["id": "stored"]) { "Events that were not accepted yet" }
                        stored.isEmpty ? tag("p") { "None." } : Self.deliveries(stored, request.nowMs)
                    }
                    tag("section", ["class": "card", "aria-labelledby": "made"]) {
                        tag("h2", ["id": "made"]) { "Attempts, newest first" }
                        made.isEmpty ? tag("p") { "None." } : Self.attempts(made, request.nowMs)
                    }
                }, everyMs: 5000))
    }

    private static func deliveries(_ deliveries: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Events not accepted yet", ["event", "type", "state", "attempts", "next", "last answer"],
            rows: deliveries.map { delivery in
                [
                    tag("code") { delivery.word("event_id") }, Escaped(delivery.word("event_type")),
                    Escaped(delivery.word("status")),
                    Escaped(delivery["attempts"]?.integerValue.map(String.init) ?? "–"),
                    delivery.time("next_attempt").map { moment($0, nowMs: nowMs) } ?? Escaped("–"),
                    Escaped(
                        delivery["reason"]?.stringValue ?? delivery["last_status"]?.integerValue.map(String.init) ?? "–"
                    ),
                ]
            })
    }

    private static func attempts(_ attempts: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Attempts", ["event", "type", "when", "took", "answer"],
            rows: attempts.map { attempt in
                let status = attempt["status"]?.integerValue ?? 0
                return [
                    tag("code") { attempt.word("event_id") }, Escaped(attempt.word("event_type")),
                    attempt.time("date").map { moment($0, nowMs: nowMs) } ?? Escaped("–"),
                    Escaped(attempt["duration_ms"]?.integerValue.map { Words.span($0) } ?? "–"),
                    badge(
                        200..<300 ~= status ? .good : .bad,
                        attempt["reason"]?.stringValue ?? (status > 0 ? String(status) : "no answer")),
                ]
            })
    }

    // MARK: - Audit

    private func audit(_ request: ConsoleRequest) async throws -> Answer {
        let (actor, subject) = (request.item("actor"), request.item("subject"))
        var path = "/v1/AuditEvents?"
        if let actor { path += "Actor=\(Percent.encode(actor))&" }
        if let subject { path += "Subject=\(Percent.encode(subject))&" }
        let events = try await api.list("audit_events", String(path.dropLast()))
        return .page(
            Page(
                title: "Audit",
                still: tag("section") {
                    tag("h1") { "Audit trail" }
                    tag("p", ["class": "lead"]) { "Who did what, newest first. At most \(ConsoleAPI.most) lines." }
                    tag("form", ["class": "card ask", "action": "/audit"]) {
                        field("Who (exact)", id: "actor") {
                            tag("input", ["id": "actor", "name": "actor", "value": actor, "maxlength": "64"])
                        }
                        field("About (exact SID or identity)", id: "subject") {
                            tag("input", ["id": "subject", "name": "subject", "value": subject, "maxlength": "64"])
                        }
                        tag("button") { "Filter" }
                    }
                },
                live: tag("section", ["class": "card", "aria-label": "Audit trail"]) {
                    events.isEmpty ? tag("p") { "No line fits." } : Self.lines(events, request.nowMs)
                }, everyMs: 5000))
    }

    private static func lines(_ events: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Audit trail", ["when", "what", "who", "about", "from", "times"],
            rows: events.map { event in
                [
                    event.time("date").map { moment($0, nowMs: nowMs) } ?? Escaped("–"), Escaped(event.word("action")),
                    tag("a", ["href": "/audit?actor=\(Percent.encode(event.word("actor")))"]) { event.word("actor") },
                    tag("a", ["href": "/audit?subject=\(Percent.encode(event.word("subject")))"]) {
                        tag("code") { event.word("subject") }
                    },
                    Escaped(event.word("address")), Escaped(event["count"]?.integerValue.map(String.init) ?? "1"),
                ]
            })
    }
}
