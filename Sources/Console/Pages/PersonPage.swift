import Wire

/// One person: their devices, what their limits allow, and their challenges.
struct PersonPage: Sendable {
    let api: ConsoleAPI

    var routes: [ConsoleRoute] { [ConsoleRoute(path: "/people", get: { try await show($0) })] }

    private func show(_ request: ConsoleRequest) async throws -> Answer {
        let (service, identity) = try ChallengePage.person(request)
        let path = ConsoleAPI.person(service, identity)
        async let factors = api.list("factors", path + "/Factors")
        async let challenges = api.list("challenges", path + "/Challenges?Order=desc")
        async let standings = limits(path)
        let (devices, asked, limits) = (try await factors, try await challenges, try await standings)
        return .page(
            Page(
                title: identity,
                still: tag("section") {
                    tag("h1") { identity }
                    tag("p", ["class": "lead"]) { "Devices and challenges of this person in service \(service)." }
                },
                live: tag("div", ["class": "stack"]) {
                    tag("section", ["class": "card", "aria-labelledby": "devices"]) {
                        tag("h2", ["id": "devices"]) { "Devices" }
                        devices.isEmpty ? tag("p") { "None is enrolled." } : Self.devices(devices, request.nowMs)
                    }
                    tag("section", ["class": "card", "aria-labelledby": "limits"]) {
                        tag("h2", ["id": "limits"]) { "Limits" }
                        limits.isEmpty
                            ? tag("p") { "No limit is switched on, or the API is of an older version." }
                            : Self.limits(limits, devices, request.nowMs)
                    }
                    tag("section", ["class": "card", "aria-labelledby": "asked"]) {
                        tag("h2", ["id": "asked"]) { "Challenges, newest first" }
                        asked.isEmpty
                            ? tag("p") { "None." } : Self.challenges(asked, service, identity, request.nowMs)
                    }
                }, everyMs: 3000))
    }

    private static func devices(_ devices: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Devices", ["name", "SID", "state", "platform", "app", "notifications", "enrolled"],
            rows: devices.map { factor in
                let config = factor["config"]
                let isVerified = factor.word("status") == "verified"
                let unreachable = factor["beckon"]?["unreachable_since"] != nil
                let notifications: String =
                    switch config?["notifications_enabled"] {
                    case .some(.boolean(true)): "on"
                    case .some(.boolean(false)): "off"
                    default: "not told"
                    }
                return [
                    Escaped(factor.word("friendly_name")), tag("code") { factor.word("sid") },
                    unreachable
                        ? badge(.bad, "push token is dead")
                        : badge(isVerified ? .good : .warning, factor.word("status")),
                    Escaped(config?["notification_platform"]?.stringValue ?? factor.word("factor_type")),
                    Escaped(config?["app_id"]?.stringValue ?? "–"), Escaped(notifications),
                    factor.time("date_created").map { moment($0, nowMs: nowMs) } ?? Escaped("–"),
                ]
            })
    }

    // MARK: - Limits

    /// Nothing when the API is of a version that does not tell them.
    private func limits(_ path: String) async throws -> [JSONValue] {
        do {
            return try await api.get(path + "/Limits")["limits"]?.elements ?? []
        } catch let refusal as ConsoleRefusal where refusal.status == 404 {
            return []
        }
    }

    private static func limits(_ limits: [JSONValue], _ devices: [JSONValue], _ nowMs: Int64) -> Escaped {
        table(
            caption: "Limits", ["limit", "used", "state", "all free again", "counts for"],
            rows: limits.map { limit in
                let used = limit["used"]?.integerValue ?? 0
                let maximum = max(limit["maximum"]?.integerValue ?? 1, 1)
                let factor = limit["factor_sid"]?.stringValue
                let name = devices.first { $0["sid"]?.stringValue == factor }?["friendly_name"]?.stringValue
                return [
                    Escaped(words(limit.word("limit"))),
                    gauge(used: used, of: maximum),
                    limit.time("blocked_until").map { until in
                        badge(.bad, effect(limit.word("limit")))
                            + tag("span", ["class": "until"]) { "ends " } + moment(until, nowMs: nowMs)
                    } ?? badge(.good, "not reached"),
                    limit.time("reset").map { moment($0, nowMs: nowMs) } ?? Escaped("now"),
                    Escaped(factor.map { "\(name ?? "device") (…\($0.suffix(4)))" } ?? "the person"),
                ]
            })
    }

    private static func gauge(used: Int64, of maximum: Int64) -> Escaped {
        tag("span", ["class": "gauge"]) {
            tag("svg", ["class": "bar", "width": "72", "height": "10", "aria-hidden": "true"]) {
                shape("rect", ["class": "track", "width": "72", "height": "10", "rx": "3"])
                shape(
                    "rect",
                    [
                        "class": used >= maximum ? "value full" : "value", "width": "\(72 * used / maximum)",
                        "height": "10", "rx": "3",
                    ])
            }
            tag("span", ["class": "count"]) { "\(used) of \(maximum)" }
        }
    }

    private static func words(_ limit: String) -> String {
        switch limit {
        case "creations": "challenges created"
        case "pending": "challenges pending"
        case "numbers": "wrong numbers"
        default: limit
        }
    }

    private static func effect(_ limit: String) -> String {
        switch limit {
        case "denials": "no pushes"
        case "numbers": "no numbers are accepted"
        default: "no new challenges"
        }
    }

    private static func challenges(
        _ challenges: [JSONValue], _ service: String, _ identity: String, _ nowMs: Int64
    ) -> Escaped {
        let live = challenges.filter { $0.word("status") == "pending" }.count
        return tag("p") { "\(live) pending of the last \(challenges.count)." }
            + table(
                caption: "Challenges", ["SID", "status", "created", "answered", "expires"],
                rows: challenges.map { challenge in
                    let sid = challenge.word("sid")
                    func at(_ name: String) -> Escaped {
                        challenge.time(name).map { moment($0, nowMs: nowMs) } ?? Escaped("–")
                    }
                    return [
                        tag("a", ["href": ChallengePage.url(sid, service: service, identity: identity)]) {
                            tag("code") { sid }
                        },
                        Escaped(challenge.word("status")), at("date_created"), at("date_responded"),
                        at("expiration_date"),
                    ]
                })
    }
}
