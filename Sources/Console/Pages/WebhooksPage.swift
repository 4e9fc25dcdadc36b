import Wire

/// Webhooks and their attempts. An operator has stored events sent again.
struct WebhooksPage: Sendable {
    let api: ConsoleAPI
    /// Writes an audit event first; nil: the console has no store, so nothing is sent again.
    let audit: DeadLetterBox.Audit?

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(path: "/webhooks", name: "Webhooks", get: { try await webhooks($0) }),
            ConsoleRoute(path: "/webhooks/{service}/{sid}", get: { try await webhook($0) }),
            ConsoleRoute(path: "/webhooks/{service}/{sid}/replays", post: { try await replay($0) }),
        ]
    }

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
        let path = Self.path(request)
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
                        stored.isEmpty ? tag("p") { "None." } : self.deliveries(stored, request)
                    }
                    tag("section", ["class": "card", "aria-labelledby": "made"]) {
                        tag("h2", ["id": "made"]) { "Attempts, newest first" }
                        made.isEmpty ? tag("p") { "None." } : Self.attempts(made, request.nowMs)
                    }
                }, everyMs: 5000))
    }

    private static func path(_ request: ConsoleRequest) -> String {
        "/v2/Services/\(Percent.encode(request.values[0]))/Webhooks/\(Percent.encode(request.values[1]))"
    }

    private static func url(_ request: ConsoleRequest) -> String {
        "/webhooks/\(Percent.encode(request.values[0]))/\(Percent.encode(request.values[1]))"
    }

    private func deliveries(_ deliveries: [JSONValue], _ request: ConsoleRequest) -> Escaped {
        let mayReplay = request.reader.mayAct && audit != nil
        let action = Self.url(request) + "/replays"
        return table(
            caption: "Events not accepted yet",
            ["type", "state"] + (mayReplay ? ["act"] : []) + ["last answer", "attempts", "next", "event"],
            rows: deliveries.map { delivery in
                let event = delivery.word("event_id")
                let isWaiting = delivery.word("status") == "waiting"
                let act = button(
                    "Send again", action: action, values: [("event", event)], label: "Send the event \(event) again")
                return [
                    Escaped(delivery.word("event_type")), badge(isWaiting ? .quiet : .bad, delivery.word("status")),
                ] + (mayReplay ? [act] : []) + [
                    Escaped(Self.answer(delivery, "last_status")),
                    Escaped(delivery["attempts"]?.integerValue.map(String.init) ?? "–"),
                    delivery.time("next_attempt").map { moment($0, nowMs: request.nowMs) } ?? Escaped("–"),
                    tag("code") { event },
                ]
            }) + (mayReplay ? replayAll(deliveries, action) : Self.whyNot(request.reader))
    }

    private static func whyNot(_ reader: Reader) -> Escaped {
        tag("p", ["class": "hint"]) {
            reader.mayAct
                ? "To send events again, the console needs Kafka and the store, for the audit trail."
                : "Only operators may send events again."
        }
    }

    /// Bound to the events that are listed, so that an event that came later is not sent by accident.
    private func replayAll(_ deliveries: [JSONValue], _ action: String) -> Escaped {
        let ended = deliveries.filter { $0.word("status") != "waiting" }.map { $0.word("event_id") }
        guard !ended.isEmpty else { return .nothing }
        return tag("form", ["class": "choices-line", "method": "post", "action": action, "data-act": ""]) {
            ended.map { tag("input", ["type": "hidden", "name": "event", "value": $0]) }
            ManyAtOnce.confirmation(of: ended.count)
            tag("button", ["class": "main"]) {
                "Send the \(Words.count(Double(ended.count), "event", "events")) again that \(ended.count == 1 ? "was" : "were") given up"
            }
        }
    }

    // MARK: - Sending again

    private func replay(_ request: ConsoleRequest) async throws -> Answer {
        guard let audit else {
            throw ConsoleRefusal(
                status: 503,
                message: "Without Kafka and the store, the console cannot write the audit trail: nothing was sent.")
        }
        let events = try ManyAtOnce.chosen("event", in: request, "event", atMost: ConsoleAPI.most)
        do {
            try await audit("webhooks.replay", request.values[1], request.reader.name)
        } catch {
            throw ConsoleRefusal(
                status: 503, message: "The audit trail cannot be written, so nothing was sent. Try again later.")
        }
        var sent = 0
        do {
            for event in events {
                let reply = try await api.post(Self.path(request) + "/Replays", [("EventId", event)])
                sent += Int(reply["events"]?.integerValue ?? 0)
            }
        } catch let refusal as ConsoleRefusal {
            throw ConsoleRefusal(
                status: refusal.status, message: "\(sent) of \(events.count) events are sent again. \(refusal.message)")
        }
        let gone = events.count - sent
        return .done(
            "\(Words.count(Double(sent), "event is", "events are")) sent again."
                + (gone > 0 ? " \(gone) are no longer stored: they were accepted, or are too old." : ""),
            path: Self.url(request))
    }

    /// The status of the receiver's answer, or why there is none.
    private static func answer(_ attempt: JSONValue, _ name: String) -> String {
        let status = attempt[name]?.integerValue ?? 0
        return status > 0 ? String(status) : attempt["reason"]?.stringValue ?? "no answer"
    }

    private static func attempts(_ attempts: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Attempts", ["type", "when", "answer", "took", "event"],
            rows: attempts.map { attempt in
                let status = attempt["status"]?.integerValue ?? 0
                return [
                    Escaped(attempt.word("event_type")),
                    attempt.time("date").map { moment($0, nowMs: nowMs) } ?? Escaped("–"),
                    badge(200..<300 ~= status ? .good : .bad, answer(attempt, "status")),
                    Escaped(attempt["duration_ms"]?.integerValue.map { Words.span($0) } ?? "–"),
                    tag("code") { attempt.word("event_id") },
                ]
            })
    }
}
