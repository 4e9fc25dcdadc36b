import Wire

/// One challenge by its SID: what happened to it, when, and on which device.
struct ChallengePage: Sendable {
    let api: ConsoleAPI

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(path: "/challenges", name: "Challenges", get: { try await find($0) }),
            ConsoleRoute(path: "/challenges/{sid}", get: { try await show($0) }),
        ]
    }

    static func url(_ sid: String, service: String, identity: String) -> String {
        "/challenges/\(Percent.encode(sid))?service=\(Percent.encode(service))&identity=\(Percent.encode(identity))"
    }

    static func url(person identity: String, service: String) -> String {
        "/people?service=\(Percent.encode(service))&identity=\(Percent.encode(identity))"
    }

    // MARK: - Finding one

    private func find(_ request: ConsoleRequest) async throws -> Answer {
        if let sid = request.item("sid"), let service = request.item("service"), let identity = request.item("identity")
        {
            return .reply(.redirect(Self.url(sid, service: service, identity: identity)))
        }
        if let service = request.item("service"), let identity = request.item("identity") {
            return .reply(.redirect(Self.url(person: identity, service: service)))
        }
        let services = try await api.services()
        return .page(
            Page(
                title: "Challenges",
                still: tag("section") {
                    tag("h1") { "Challenges and people" }
                    tag("p", ["class": "lead"]) {
                        "Name a person to see their devices and challenges, or add the SID of one challenge."
                    }
                    tag("form", ["class": "card ask", "action": "/challenges"]) {
                        field("Service", id: "service") {
                            tag("select", ["id": "service", "name": "service"]) {
                                services.map { service in
                                    tag("option", ["value": service.sid]) {
                                        "\(service.name) (\(service.sid.suffix(6)))"
                                    }
                                }
                            }
                        }
                        field("Identity", id: "identity") {
                            tag("input", ["id": "identity", "name": "identity", "required": "", "maxlength": "64"])
                        }
                        field("Challenge SID (optional)", id: "sid") {
                            tag("input", ["id": "sid", "name": "sid", "maxlength": "34", "placeholder": "YC…"])
                        }
                        tag("button", ["class": "main"]) { "Show" }
                    }
                }))
    }

    /// Of the request's query.
    static func person(_ request: ConsoleRequest) throws -> (service: String, identity: String) {
        guard let service = request.item("service"), let identity = request.item("identity") else {
            throw ConsoleRefusal(status: 400, message: "Name the service and the identity of the challenge.")
        }
        return (service, identity)
    }

    // MARK: - One challenge

    private func show(_ request: ConsoleRequest) async throws -> Answer {
        let (service, identity) = try Self.person(request)
        let person = ConsoleAPI.person(service, identity)
        let path = "\(person)/Challenges/\(Percent.encode(request.values[0]))"
        async let challenge = api.get(path)
        async let timeline = api.get(path + "/Timeline")
        async let factors = api.list("factors", person + "/Factors")
        let lanes = Lanes(try await timeline, nowMs: request.nowMs)
        let names = Dictionary(
            try await factors.compactMap { factor in
                factor["sid"]?.stringValue.map { ($0, factor["friendly_name"]?.stringValue ?? "") }
            }
        ) { first, _ in first }
        let content = try await challenge
        return .page(
            Page(
                title: "Challenge \(request.values[0])",
                still: tag("section") {
                    tag("h1") { "Challenge" }
                    tag("p", ["class": "lead"]) {
                        tag("code") { request.values[0] }
                        " for "
                        tag("a", ["href": Self.url(person: identity, service: service)]) { identity }
                    }
                },
                live: tag("div", ["class": "stack"]) {
                    tag("section", ["class": "card", "aria-label": "Key facts"]) {
                        keyFacts(content, lanes, request.nowMs)
                    }
                    tag("section", ["class": "card", "aria-labelledby": "story"]) {
                        tag("h2", ["id": "story"]) { "What happened" }
                        tag("p") { lanes.finding }
                        if !lanes.lanes.isEmpty { Self.chart(lanes, names) }
                        tag("details", ["open": lanes.lanes.isEmpty ? "" : nil]) {
                            tag("summary") { "All events as a table" }
                            Self.events(lanes, names)
                        }
                    }
                    tag("section", ["class": "card", "aria-labelledby": "settings"]) {
                        tag("h2", ["id": "settings"]) { "Settings in effect" }
                        Self.settings(content)
                    }
                }, everyMs: lanes.status == "pending" ? 1000 : 10_000))
    }

    private func keyFacts(_ challenge: JSONValue, _ lanes: Lanes, _ nowMs: Int64) -> Escaped {
        let tones: [String: Tone] = ["approved": .good, "pending": .warning, "denied": .bad]
        return facts([
            ("status", badge(tones[lanes.status] ?? .quiet, lanes.status)),
            ("delivery", badge(lanes.delivery == "undelivered" ? .bad : .quiet, lanes.delivery)),
            ("created", moment(lanes.createdAtMs, nowMs: nowMs)),
            ("expires", challenge.time("expiration_date").map { moment($0, nowMs: nowMs) } ?? Escaped("–")),
            ("pushes", Escaped(String(lanes.lanes.count))),
            (
                "answered",
                challenge.time("date_responded").map { moment($0, nowMs: nowMs) } ?? Escaped("not yet")
            ),
        ])
    }

    /// Only what says how Beckon treats the challenge: no text, no number, no evidence.
    private static func settings(_ challenge: JSONValue) -> Escaped {
        guard let own = challenge["beckon"] else {
            return tag("p", ["class": "hint"]) { "All settings are the defaults." }
        }
        func flag(_ name: String) -> String { own[name] == .boolean(true) ? "yes" : "no" }
        let redelivery = own["redelivery"]
        return facts(
            [
                ("to all devices", Escaped(flag("fan_out"))),
                ("attempts at most", Escaped(redelivery?["max_attempts"]?.integerValue.map(String.init) ?? "default")),
                (
                    "expected latency",
                    Escaped(redelivery?["expected_latency"]?.integerValue.map { Words.span($0) } ?? "default")
                ),
                ("confirmed by", Escaped(redelivery?["confirm"]?.stringValue ?? "default")),
                (
                    "digits of the number",
                    Escaped(own["number_matching"]?["digits"]?.integerValue.map(String.init) ?? "no number")
                ),
                ("needs a session", Escaped(flag("require_session"))),
                (
                    "fall-backs",
                    Escaped(own["fallbacks"]?.elements?.compactMap(\.stringValue).joined(separator: ", ") ?? "")
                ),
                ("pushes stopped until", Escaped(own.word("quiet_until"))),
            ].filter { $0.1 != Escaped("") }.map { (name: $0.0, value: $0.1) })
    }

    private static func events(_ lanes: Lanes, _ names: [String: String]) -> Escaped {
        table(
            caption: "Events", ["after", "event", "device", "dispatch", "more", "time (UTC)"],
            rows: lanes.events.map { event in
                let atMs = event.time("date") ?? lanes.createdAtMs
                let more = ["kind", "channel", "shown", "platform", "reason"].compactMap { name in
                    event[name]?.stringValue.map { "\(name) \($0)" }
                }
                return [
                    Escaped("+" + Words.span(atMs - lanes.createdAtMs)), Escaped(event.word("event")),
                    Escaped(event["factor_sid"]?.stringValue.map { device($0, names) } ?? "–"),
                    Escaped(event.word("dispatch")), Escaped(more.joined(separator: ", ")),
                    Escaped(event.word("date")),
                ]
            })
    }

    private static func device(_ factor: String, _ names: [String: String]) -> String {
        names[factor].map { "\($0) (…\(factor.suffix(4)))" } ?? "…\(factor.suffix(6))"
    }

    // MARK: - The chart

    private static func chart(_ lanes: Lanes, _ names: [String: String]) -> Escaped {
        let (left, right, row) = (190.0, 790.0, 34.0)
        let height = Double(lanes.lanes.count) * row + 30
        func x(_ atMs: Int64) -> Double { left + (right - left) * lanes.place(atMs) }
        func text(_ value: Double) -> String { String((value * 10).rounded() / 10) }
        return tag("figure") {
            tag("div", ["class": "wide", "tabindex": "0", "role": "region", "aria-label": "Lanes of the challenge"]) {
                tag(
                    "svg",
                    [
                        "class": "lanes", "viewBox": "0 0 800 \(text(height))", "role": "img",
                        "aria-labelledby": "lanes-title lanes-text",
                    ]
                ) {
                    tag("title", ["id": "lanes-title"]) { "Devices and attempts over time" }
                    tag("desc", ["id": "lanes-text"]) { lanes.finding }
                    lanes.lanes.enumerated().map { index, lane in
                        let top = Double(index) * row + 4
                        return tag("g") {
                            tag("text", ["class": "name", "x": "0", "y": text(top + 11)]) { device(lane.factor, names) }
                            tag("text", ["class": "soft", "x": "0", "y": text(top + 24)]) {
                                "\(lane.dispatch) · \(lane.result.isEmpty ? "received" : lane.result)"
                            }
                            shape(
                                "line",
                                [
                                    "class": "rule", "x1": text(left), "x2": text(right), "y1": text(top + 12),
                                    "y2": text(top + 12),
                                ])
                            lane.bars.map { bar in
                                shape(
                                    "rect",
                                    [
                                        "class": "lane \(bar.kind.rawValue)", "x": text(x(bar.fromMs)),
                                        "y": text(top + 4),
                                        "width": text(max(x(bar.toMs) - x(bar.fromMs), 3)), "height": "16", "rx": "4",
                                    ])
                            }
                            lane.bars.filter { x($0.toMs) - x($0.fromMs) > 54 }.map { bar in
                                tag(
                                    "text",
                                    [
                                        "class": "on \(bar.kind.rawValue)", "x": text(x(bar.fromMs) + 6),
                                        "y": text(top + 16),
                                    ]
                                ) { Words.span(bar.toMs - bar.fromMs) }
                            }
                        }
                    }
                    tag("text", ["class": "soft", "x": text(left), "y": text(height - 8)]) { "created" }
                    tag("text", ["class": "soft", "x": text(right), "y": text(height - 8), "text-anchor": "end"]) {
                        "+" + Words.span(lanes.endMs - lanes.createdAtMs)
                    }
                }
            }
            tag("figcaption", ["class": "keys"]) {
                key("running", "at the provider")
                key("waiting", "accepted, not confirmed")
                key("shown", "on the device, not answered")
                tag("span", ["class": "hint"]) { "Long stretches are compressed." }
            }
        }
    }

    private static func key(_ kind: String, _ text: String) -> Escaped {
        tag("span") {
            tag("svg", ["width": "22", "height": "12", "aria-hidden": "true"]) {
                shape("rect", ["class": "lane \(kind)", "x": "1", "y": "1", "width": "20", "height": "10", "rx": "3"])
            }
            " " + text
        }
    }
}
