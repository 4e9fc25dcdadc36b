import Wire

/// Who did what, and a file of it.
struct AuditPage: Sendable {
    let api: ConsoleAPI
    private let exports = AuditExport.Slots()

    init(api: ConsoleAPI) { self.api = api }

    private static let path = "/v1/AuditEvents"

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(path: "/audit", name: "Audit", get: { try await show($0) }),
            ConsoleRoute(path: "/audit/export", get: { try await export($0) }),
        ]
    }

    private typealias Filter = [(name: String, value: String)]

    /// Of the API. The page's own names are the same in lower case.
    private static func filter(_ request: ConsoleRequest) -> Filter {
        ["Actor", "Subject"].compactMap { name in request.item(name.lowercased()).map { (name, $0) } }
    }

    private static func query(_ filter: Filter) -> String {
        filter.isEmpty ? "" : "?" + filter.map { "\($0.name)=\(Percent.encode($0.value))" }.joined(separator: "&")
    }

    private static func export(_ filter: Filter, _ format: AuditExport.Format) -> String {
        "/audit/export" + query(filter.map { ($0.name.lowercased(), $0.value) } + [("format", format.rawValue)])
    }

    private func export(_ request: ConsoleRequest) async throws -> Answer {
        guard let format = AuditExport.Format(rawValue: request.item("format") ?? "csv") else {
            throw ConsoleRefusal(status: 400, message: "format: expected csv or jsonl.")
        }
        guard let slot = exports.take() else {
            throw ConsoleRefusal(status: 503, message: "Others are exporting the audit trail: try again in a moment.")
        }
        // Before the reply begins, so that a refusal of the API becomes a page.
        let first = try await api.page(
            "audit_events", Self.path + Self.query(Self.filter(request)), size: AuditExport.pageSize)
        return .reply(AuditExport(format: format, api: api, slot: slot).reply(first))
    }

    private func show(_ request: ConsoleRequest) async throws -> Answer {
        let (actor, subject) = (request.item("actor"), request.item("subject"))
        let filter = Self.filter(request)
        let events = try await api.list("audit_events", Self.path + Self.query(filter))
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
                    tag("p", ["class": "choices-line"]) {
                        tag("a", ["class": "button", "href": Self.export(filter, .csv), "download": ""]) {
                            "Export as CSV"
                        }
                        tag("a", ["class": "button", "href": Self.export(filter, .jsonl), "download": ""]) {
                            "Export as JSON lines"
                        }
                        tag("span", ["class": "hint"]) {
                            "All lines that fit the filter, at most \(Words.count(Double(AuditExport.most)))."
                        }
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
