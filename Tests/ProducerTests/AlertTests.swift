import ChallengeModel
import Challenges
import Foundation
import TestSupport
import Testing
import Wire

@testable import Producer

@Suite("Alerts over HTTP", .timeLimit(.minutes(5)))
struct AlertTests {
    @Test("every form of an address that is refused leaves exactly one alert, whatever it is sent for and how often")
    func refusedAddresses() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let sid = String(service.dropFirst("/v2/Services/".count))
            let webhook = try await producer.post(
                "\(service)/Webhooks",
                [("FriendlyName", "hook"), ("EventTypes", "*"), ("WebhookUrl", "https://shop.example.com/")],
                as: producer.backend
            ).text("sid")
            for (row, url) in AddressForms.refused {
                let before = try await alerts(producer).count
                for (path, more) in [
                    ("\(service)/Webhooks", [("FriendlyName", "hook"), ("EventTypes", "*")]),
                    ("\(service)/Webhooks/\(webhook)", []),
                ] {
                    let answer = try await producer.post(path, more + [("WebhookUrl", url)], as: producer.backend)
                    #expect(answer.status == 400, "row \(row): \(url)")
                }
                let after = try await alerts(producer)
                #expect(after.count == before + 1, "row \(row): \(url)")
                #expect(after.first?.code == 11_210 && after.first?.service?.rawValue == sid)
            }
            // What was refused may hold a password.
            let shown = try await producer.get("/v1/Alerts?PageSize=1000", as: producer.backend)
            #expect(!shown.text.contains("u:p@") && !shown.text.contains("10.0.0.1"))
            #expect(Set(try shown.items("alerts").map { $0["alert_text"]?.stringValue }).count == 1)
            let before = try await alerts(producer).count
            let refused = try await producer.post(
                "/v1/Debugger", [("WebhookUrl", "https://10.0.0.1/")], as: producer.backend)
            #expect(refused.status == 400)
            #expect(try await alerts(producer).count == before + 1)
            // Nothing was named.
            _ = try await producer.post("/v1/Debugger", [], as: producer.backend)
            #expect(try await alerts(producer).count == before + 1)
        }
    }

    @Test("alerts are listed and shown in the form of the original API, by page and filter, to their account alone")
    func resource() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let serviceSID = try #require(ServiceSID(service.dropFirst("/v2/Services/".count)))
            let webhook = try await producer.store.createWebhook(
                NewWebhook(
                    account: producer.account.sid, service: serviceSID, friendlyName: "hook", eventTypes: ["*"],
                    url: "https://shop.example.com/hook?key=secret"), nowMs: producer.clock.nowMs)
            for number in 0..<3 {
                let delivery = WebhookDelivery(
                    account: producer.account.sid, service: serviceSID, webhook: webhook.sid, subject: "s\(number)",
                    partition: 0, eventID: "e\(number)", eventType: "challenge.approved", event: Array("{}".utf8),
                    traceparent: nil, nowMs: producer.clock.nowMs)
                try await producer.store.storeDeliveries(
                    [delivery],
                    failure: WebhookFailure(status: 500 + number, code: 11_200, reason: "status", body: "oh \"no\""),
                    dueMs: producer.clock.nowMs + 60_000, nowMs: producer.clock.nowMs)
                producer.clock.advance(.seconds(86_400))
            }
            _ = try await producer.post(
                "/v1/Debugger", [("WebhookUrl", "http://example.com/")], as: producer.backend)
            var path = "/v1/Alerts?PageSize=3&LogLevel=warning"
            let first = try await producer.get(path, as: producer.backend)
            #expect(first.status == 200)
            #expect(try first.items("alerts").count == 3)
            path = "/v1/Alerts?PageSize=3"
            let next = try #require(
                try await producer.get(path, as: producer.backend).json()["meta"]?["next_page_url"]?.stringValue)
            #expect(try await producer.get(next, as: producer.backend).items("alerts").count == 1)
            let shown = try #require(try first.items("alerts").first)
            #expect(
                shown.members?.map(\.name) == [
                    "sid", "account_sid", "service_sid", "resource_sid", "error_code", "log_level", "alert_text",
                    "more_info", "request_method", "request_url", "date_generated", "date_created", "date_updated",
                    "url",
                ])
            #expect(shown["error_code"]?.stringValue == "11200" && shown["log_level"]?.stringValue == "warning")
            #expect(shown["request_url"]?.stringValue == "https://shop.example.com/hook")
            let url = try #require(shown["url"]?.stringValue)
            let whole = try await producer.get(url, as: producer.backend)
            #expect(try whole.text("response_body") == "oh \"no\"")
            #expect(try whole.json()["beckon"]?["response_status"]?.integerValue == 502)
            #expect(try whole.json()["beckon"]?["count"]?.integerValue == 1)
            let other = try await producer.store.createAccount(nowMs: producer.clock.nowMs)
            let stranger = Authorization.basic(other.sid.rawValue, other.authToken)
            #expect(try await producer.get(url, as: stranger).status == 404)
            #expect(try await producer.get("/v1/Alerts", as: stranger).items("alerts").isEmpty)
            let day = Timestamp.rfc3339Seconds(producer.clock.nowMs - 2 * 86_400_000).prefix(10)
            for (filter, count) in [
                ("LogLevel=error", 1), ("ResourceSid=\(webhook.sid)", 3), ("StartDate=\(day)", 3),
                ("EndDate=\(day)", 2), ("StartDate=\(day)&EndDate=\(day)", 1), ("StartDate=\(day)T00:00:00Z", 3),
                ("LogLevel=&StartDate=", 4),
            ] {
                let listed = try await producer.get("/v1/Alerts?\(filter)", as: producer.backend)
                #expect(try listed.items("alerts").count == count, "\(filter)")
            }
            for filter in ["LogLevel=loud", "StartDate=tomorrow", "EndDate=2026-02-30", "ResourceSid=x", "PageSize=0"] {
                #expect(try await producer.get("/v1/Alerts?\(filter)", as: producer.backend).status == 400, "\(filter)")
            }
        }
    }

    @Test("an account has one debugger webhook, which is set, shown, replaced and removed")
    func debugger() async throws {
        try await ProducerHarness.run { producer in
            #expect(try await producer.get("/v1/Debugger", as: producer.backend).status == 404)
            let set = try await producer.post(
                "/v1/Debugger", [("WebhookUrl", "https://Shop.example.com:443/debug#rc=2")], as: producer.backend)
            #expect(set.status == 200)
            #expect(try set.text("webhook_url") == "https://shop.example.com/debug#rc=2")
            let replaced = try await producer.post(
                "/v1/Debugger", [("WebhookUrl", "https://shop.example.com/other")], as: producer.backend)
            #expect(try replaced.text("sid") == set.text("sid"))
            let shown = try await producer.get("/v1/Debugger", as: producer.backend)
            #expect(try shown.text("webhook_url") == "https://shop.example.com/other")
            let other = try await producer.store.createAccount(nowMs: producer.clock.nowMs)
            let stranger = Authorization.basic(other.sid.rawValue, other.authToken)
            #expect(try await producer.get("/v1/Debugger", as: stranger).status == 404)
            #expect(try await producer.delete("/v1/Debugger", as: stranger).status == 404)
            #expect(try await producer.delete("/v1/Debugger", as: producer.backend).status == 204)
            #expect(try await producer.delete("/v1/Debugger", as: producer.backend).status == 404)
        }
    }

    @Test("a webhook asks for consent only when it sends CloudEvents or JSON")
    func handshake() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            func post(_ path: String, _ more: [(String, String)]) async throws -> HTTPAnswer {
                try await producer.post("\(service)/Webhooks\(path)", more, as: producer.backend)
            }
            let hook = [
                ("FriendlyName", "hook"), ("EventTypes", "*"), ("WebhookUrl", "https://shop.example.com/"),
                ("Handshake", "true"),
            ]
            #expect(try await post("", hook).status == 400)
            let made = try await post("", hook + [("Format", "cloudevents")])
            #expect(made.status == 201)
            func needs() async throws -> [Bool] {
                try await producer.store.webhookRoutes(
                    account: producer.account.sid, service: try #require(ServiceSID(service.suffix(34))),
                    nowMs: producer.clock.nowMs
                ).map(\.needsConsent)
            }
            #expect(try await needs() == [true])
            let path = "/\(try made.text("sid"))"
            #expect(try await post(path, [("Handshake", "false")]).status == 200)
            #expect(try await needs() == [false])
            #expect(try await post(path, [("Handshake", "true")]).status == 200)
            #expect(try await post(path, [("Handshake", "true"), ("Format", "form")]).status == 400)
            #expect(try await needs() == [true])
        }
    }

    private func alerts(_ producer: ProducerHarness) async throws -> [Alert] {
        try await producer.store.alerts(AlertFilter(account: producer.account.sid), page: PageRequest(size: 1000)).items
    }
}
