import ChallengeModel
import Challenges
import Foundation
import GuardedHTTP
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

@testable import Webhooks

@Suite("Alerts of the webhook relay", .timeLimit(.minutes(5)), .serialized)
struct AlertTests {
    @Test("a failing webhook is told to the debugger webhook, signed and once, and a failing debugger is no alert")
    func debugger() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let bad = try await Inbox(rig) { _, _ in .status(500, body: "out of order") }
            let debugger = try await Inbox(rig) { _, count in count < 2 ? .status(503) : .status(200) }
            let webhook = try await rig.webhook(bad.port)
            let url = "https://127.0.0.1:\(debugger.port)/debug?a=1"
            _ = try await rig.store.setDebugger(url: url, account: rig.account, nowMs: Timestamp.nowMs())
            try await rig.relaying {
                for _ in 0..<3 { try await rig.emit(.challengeApproved, RelayRig.challenge()) }
                try await eventually("the debugger takes it at the third try") { debugger.messages.count >= 3 }
                try await eventually("all events have failed more than once") {
                    try await rig.store.webhookDeliveries(
                        webhook.sid, account: rig.account, service: rig.service, state: .waiting, page: PageRequest()
                    ).items.filter { $0.failures > 1 }.count == 3
                }
            }
            let alerts = try await rig.alerts()
            #expect(alerts.map(\.code) == [11_200] && alerts.map(\.resource) == [webhook.sid.rawValue])
            #expect(debugger.messages.count == 3 && Set(debugger.messages.map(\.id)).count == 1)
            let request = try #require(debugger.messages.last?.request)
            let form = try Form(request.body)
            #expect(
                request.header(TwilioSignature.headerName)
                    == TwilioSignature.form(
                        url: url, parameters: form.pairs.map { (name: $0.name, value: $0.value) },
                        authToken: rig.authToken))
            #expect(form["Sid"] == alerts.first?.sid.rawValue && form["AccountSid"] == rig.account.rawValue)
            #expect(form["Level"] == "Warning" && form["PayloadType"] == "application/json")
            #expect(form["Timestamp"].flatMap { Timestamp.epochMs($0) } != nil)
            let payload = try JSONParser.parse(try #require(form["Payload"]))
            #expect(payload["error_code"]?.stringValue == "11200")
            #expect(payload["resource_sid"]?.stringValue == webhook.sid.rawValue)
            #expect(payload["service_sid"]?.stringValue == rig.service.rawValue)
            #expect(payload["webhook"]?["response"]?["status_code"]?.integerValue == 500)
            #expect(payload["webhook"]?["response"]?["body"]?.stringValue == "out of order")
            await bad.stop()
            await debugger.stop()
        }
    }

    @Test("each address that a URL shows to be refused leaves exactly one alert, however often it is tried")
    func forms() async throws {
        try await RelayRig.with { rig in
            // No store keeps U+0000.
            let forms = AddressForms.refused.filter { !$0.url.utf8.contains(0) }
            var (services, webhooks): ([ServiceSID], [Webhook]) = ([], [])
            for (index, form) in forms.enumerated() {
                if index % 100 == 0 {
                    services.append(
                        try await rig.store.createService(
                            NewService(account: rig.account, friendlyName: "s"), nowMs: Timestamp.nowMs()
                        ).sid)
                }
                // As an older version may have taken it.
                webhooks.append(
                    try await rig.store.createWebhook(
                        NewWebhook(
                            account: rig.account, service: services[services.count - 1], friendlyName: "\(form.row)",
                            eventTypes: ["*"], url: form.url), nowMs: Timestamp.nowMs()))
            }
            try await rig.relaying(adjust: { $0.rules = OutboundRules() }) {
                for service in services {
                    for _ in 0..<2 {
                        try await rig.emit(.challengeApproved, RelayRig.challenge(), service: service)
                    }
                }
                try await eventually("two events of each webhook were tried") {
                    for webhook in webhooks {
                        let stored = try await rig.store.webhookDeliveries(
                            webhook.sid, account: rig.account, service: webhook.service, state: nil, page: PageRequest()
                        ).items
                        guard stored.filter({ $0.failures > 0 }).count == 2 else { return false }
                    }
                    return true
                }
            }
            let alerts = try await rig.alerts()
            for (form, webhook) in zip(forms, webhooks) {
                let found = alerts.filter { $0.resource == webhook.sid.rawValue }
                #expect(found.map(\.code) == [11_210], "row \(form.row): \(form.url)")
            }
            #expect(alerts.count == webhooks.count)
            // What was refused, and why, is told to nobody.
            #expect(Set(alerts.map(\.text)).count == 1)
            #expect(alerts.allSatisfy { $0.details.requestURL == nil && $0.details.responseBody == nil })
        }
    }

    @Test("each address that is refused by a name's answer, or on the way, leaves exactly one alert")
    func answers() async throws {
        let moves = NameMoves()
        let names = try await SimulatedNameServer { name, isIPv6, _ in
            switch name {
            case "row14.example.com": .addresses([isIPv6 ? "::1" : "10.0.0.1"])
            case "row37.example.com": .addresses(isIPv6 ? [] : ["8.8.8.8"])
            // Nothing listens at the first; a moment later it is a private one.
            case "row63.example.com": .addresses(isIPv6 ? [] : [moves.asked(name) == 0 ? "127.66.1.1" : "10.0.0.1"])
            case "row64.example.com": .addresses(isIPv6 ? [] : ["8.8.4.4", "10.0.0.1"])
            case "row65.example.com": isIPv6 ? .addresses([]) : .alias(["192.168.0.7"])
            case "row66.example.com":
                .addresses(isIPv6 ? [] : [moves.isMoved ? "10.0.0.1" : Self.ownHost])
            default: .addresses(isIPv6 ? [] : ["10.0.0.1"])
            }
        }
        try await RelayRig.with { rig in
            let seen = Mutex<[String]>([])
            let receiver = SimulatedReceiver(certificates: rig.certificates) { request in
                seen.withLock { $0.append("\(request.method) \(request.target)") }
                switch request.target {
                case "/row62": return .status(302, headers: [("Location", "http://10.0.0.1/inside")])
                case "/row70": return .status(500, body: String(repeating: "x", count: 5000))
                default: return .status(204, headers: [("Connection", "close")])
                }
            }
            let port = try await receiver.start()
            let other = SimulatedReceiver(certificates: rig.certificates) { _ in
                .status(204, headers: [("Connection", "close")])
            }
            try await other.start(host: Self.ownHost, port: 8443)
            let stranger = SimulatedReceiver(certificates: try SimulatedCertificates()) { _ in .status(204) }
            let strangerPort = try await stranger.start()
            // A proxy would resolve the name itself.
            setenv("HTTPS_PROXY", "http://127.0.0.1:\(port)", 1)
            defer { unsetenv("HTTPS_PROXY") }
            var webhooks: [Int: Webhook] = [:]
            for (row, url) in [
                (14, "https://row14.example.com/"), (37, "https://row37.example.com/"),
                (38, "https://kafka.example.com/"), (62, "https://127.0.0.1:\(port)/row62"),
                (63, "https://row63.example.com:8443/"), (64, "https://row64.example.com/"),
                (65, "https://row65.example.com/"), (66, "https://row66.example.com:8443/"),
                (67, "https://127.0.0.1:\(port)/row67"), (68, "https://row68.example.com/"),
                (69, "https://127.0.0.1:\(strangerPort)/row69"), (70, "https://127.0.0.1:\(port)/row70"),
                (72, "https://row72.example.com/"),
            ] {
                var new = NewWebhook(
                    account: rig.account, service: rig.service, friendlyName: "\(row)", eventTypes: ["*"], url: url)
                // Row 72: the question for consent is another door.
                if row == 72 { (new.format, new.needsConsent) = (.json, true) }
                webhooks[row] = try await rig.store.createWebhook(new, nowMs: Timestamp.nowMs())
            }
            // Another door: the test delivery.
            let tested = try await rig.store.createWebhook(
                NewWebhook(
                    account: rig.account, service: rig.service, friendlyName: "test", eventTypes: ["factor.deleted"],
                    url: "https://test.example.com/"), nowMs: Timestamp.nowMs())
            _ = try await rig.store.testWebhook(
                tested.sid, account: rig.account, service: rig.service, nowMs: Timestamp.nowMs())
            let rows = try await rig.store.outbox.claimOutbox(
                owner: "test", limit: 100, leaseMs: 60_000, nowMs: Timestamp.nowMs())
            let test = try #require(rows.first { $0.key == tested.sid.rawValue })
            func found(_ row: Int) async throws -> [Alert] {
                try await rig.alerts().filter { $0.resource == webhooks[row]?.sid.rawValue }
            }
            try await rig.relaying(adjust: { configuration in
                configuration.nameServers = NameServers(servers: [names.address])
                configuration.rules.ownNames = ["kafka.example.com"]
                configuration.rules.ownAddresses = [IPAddress([8, 8, 8, 8])]
            }) {
                try await rig.send(test)
                try await rig.emit(.challengeApproved, RelayRig.challenge())
                try await eventually("the first event of rows 66 and 67 is delivered") {
                    other.connectionCount == 1 && seen.withLock { $0.contains("POST /row67") }
                }
                moves.move()
                var change = WebhookChange()
                change.url = "https://10.0.0.7/"
                _ = try await rig.store.updateWebhook(
                    try #require(webhooks[67]).sid, account: rig.account, service: rig.service, change,
                    nowMs: Timestamp.nowMs())
                try await eventually("every row has an alert") {
                    // Until the relay reads the new URL, events go to the former one.
                    try await rig.emit(.challengeApproved, RelayRig.challenge())
                    for row in webhooks.keys where try await found(row).isEmpty { return false }
                    return true
                }
            }
            for (row, code) in [
                (14, 11_210), (37, 11_210), (38, 11_210), (62, 11_215), (63, 11_210), (64, 11_210), (65, 11_210),
                (66, 11_210), (67, 11_210), (68, 11_210), (69, 11_237), (70, 11_200), (72, 11_210),
            ] {
                #expect(try await found(row).map(\.code) == [code], "row \(row)")
            }
            // Row 70: of an answer the first kilobyte; row 71: one message for all that is refused.
            let alerts = try await rig.alerts()
            #expect(try await found(70).first?.details.responseBody?.count == 1024)
            #expect(Set(alerts.filter { $0.code == 11_210 }.map(\.text)).count == 1)
            #expect(alerts.filter { $0.code == 11_210 }.allSatisfy { $0.details.requestURL == nil })
            #expect(alerts.filter { $0.resource == tested.sid.rawValue }.map(\.code) == [11_210])
            #expect(other.connectionCount == 1)
            #expect(!seen.withLock { $0 }.contains { $0.hasPrefix("OPTIONS") || $0.hasPrefix("CONNECT") })
            // Every row of the table has its place here or among the forms.
            #expect(Set(AddressForms.refused.map(\.row)).union(webhooks.keys).union([71]) == Set(1...72))
            await receiver.stop()
            await other.stop()
            await stranger.stop()
        }
        await names.stop()
    }

    /// An address whose public ports no other test uses.
    private static let ownHost = "127.66.1.2"
}

/// What a name server of a test has been asked, and whether its names have moved.
private final class NameMoves: Sendable {
    private let state = Mutex<(counts: [String: Int], isMoved: Bool)>(([:], false))

    /// - Returns: how often this name was asked for before.
    func asked(_ name: String) -> Int {
        state.withLock { state in
            defer { state.counts[name, default: 0] += 1 }
            return state.counts[name, default: 0]
        }
    }

    var isMoved: Bool { state.withLock { $0.isMoved } }
    func move() { state.withLock { $0.isMoved = true } }
}

extension RelayRig {
    func alerts() async throws -> [Alert] {
        try await store.alerts(AlertFilter(account: account), page: PageRequest(size: 1000)).items
    }
}
