import ChallengeModel
import Challenges
import Foundation
import GuardedHTTP
import Simulators
import Synchronization
import Testing
import Wire

@testable import Webhooks

@Suite("Consent of receivers", .timeLimit(.minutes(5)), .serialized)
struct ConsentTests {
    @Test(
        "consent is the sender's name or an asterisk, and the rate is in requests a minute",
        arguments: [
            ("beckon.example.com", nil, .granted(everyMs: 0)), ("BECKON.example.com", "120", .granted(everyMs: 500)),
            ("*", "*", .granted(everyMs: 0)), ("*", "0", .granted(everyMs: 0)), ("*", "many", .granted(everyMs: 0)),
            ("other.example.com", "120", .refused), ("", nil, .refused), (nil, "*", .refused),
        ] as [(String?, String?, Consents.Answer)])
    func answers(origin: String?, rate: String?, expected: Consents.Answer) {
        // The status says nothing.
        for status in [200, 204, 405] {
            var answer = HTTPAnswer(status: status)
            (answer.allowedOrigin, answer.allowedRate) = (origin, rate)
            #expect(Consents.answer(answer, origin: "beckon.example.com") == expected)
        }
    }

    @Test("a consent is for one URL and one hour, and its rate gives turns")
    func turns() {
        let consents = Consents()
        let webhook = WebhookSID.generate(nowMs: 1)
        #expect(consents.take(webhook, url: "a", nowMs: 0) == nil)
        consents.grant(webhook, url: "a", everyMs: 500, nowMs: 0)
        #expect(consents.take(webhook, url: "b", nowMs: 0) == nil)
        #expect(consents.take(webhook, url: "a", nowMs: 0) == 0)
        // Another task had asked at the same time.
        consents.grant(webhook, url: "a", everyMs: 500, nowMs: 100)
        #expect(consents.take(webhook, url: "a", nowMs: 100) == 400)
        #expect(consents.take(webhook, url: "a", nowMs: 500) == 0)
        #expect(consents.take(webhook, url: "a", nowMs: 501) == 499)
        #expect(consents.take(webhook, url: "a", nowMs: Consents.keptMs) == nil)
        consents.grant(webhook, url: "a", everyMs: 0, nowMs: Consents.keptMs)
        #expect(consents.take(webhook, url: "a", nowMs: Consents.keptMs) == 0)
        #expect(consents.take(webhook, url: "a", nowMs: Consents.keptMs) == 0)
    }

    @Test("a receiver that does not consent gets no event, and one alert; once it consents, it gets all of them")
    func handshake() async throws {
        try await RelayRig.with(partitions: 1) { rig in
            let log = Mutex<[ReceivedRequest]>([])
            let isGranted = Atomic(false)
            let receiver = SimulatedReceiver(certificates: rig.certificates) { request in
                log.withLock { $0.append(request) }
                guard request.method == "OPTIONS" else { return .status(204) }
                return isGranted.load(ordering: .relaxed)
                    ? .status(200, headers: [("WebHook-Allowed-Origin", "beckon"), ("WebHook-Allowed-Rate", "*")])
                    : .status(200)
            }
            let port = try await receiver.start()
            func webhook(_ path: String, _ format: WebhookFormat, needsConsent: Bool) async throws -> WebhookSID {
                var new = NewWebhook(
                    account: rig.account, service: rig.service, friendlyName: path, eventTypes: ["*"],
                    url: "https://127.0.0.1:\(port)\(path)?a=1")
                (new.format, new.needsConsent) = (format, needsConsent)
                return try await rig.store.createWebhook(new, nowMs: Timestamp.nowMs()).sid
            }
            let careful = try await webhook("/careful", .structured, needsConsent: true)
            _ = try await webhook("/form", .form, needsConsent: true)
            _ = try await webhook("/plain", .json, needsConsent: false)
            func requests(_ method: String, _ path: String) -> [ReceivedRequest] {
                log.withLock { $0.filter { $0.method == method && $0.target.hasPrefix(path + "?a=1") } }
            }
            try await rig.relaying {
                var ids: Set<String> = []
                for _ in 0..<3 { ids.insert(try await rig.emit(.challengeApproved, RelayRig.challenge())) }
                try await eventually("it was asked for each event") { requests("OPTIONS", "/careful").count >= 3 }
                try await eventually("the refusal is an alert") { try await !rig.alerts().isEmpty }
                #expect(requests("POST", "/careful").isEmpty)
                isGranted.store(true, ordering: .relaxed)
                try await eventually("it gets all events") {
                    Set(try requests("POST", "/careful").map { try CloudEvent(json: $0.body).id }) == ids
                }
                let asked = requests("OPTIONS", "/careful").count
                for _ in 0..<3 { try await rig.emit(.challengeApproved, RelayRig.challenge()) }
                try await eventually("more events follow") { requests("POST", "/careful").count >= 6 }
                #expect(requests("OPTIONS", "/careful").count == asked, "asked once an hour")
                try await eventually("the others have them too") {
                    requests("POST", "/form").count == 6 && requests("POST", "/plain").count == 6
                }
            }
            let alerts = try await rig.alerts()
            #expect(alerts.map(\.resource) == [careful.rawValue] && alerts.map(\.code) == [11_200])
            #expect(alerts.first?.details.words["reason"] == "no-consent")
            let question = try #require(requests("OPTIONS", "/careful").first)
            #expect(question.header("WebHook-Request-Origin") == "beckon" && question.body.isEmpty)
            #expect(requests("POST", "/careful").allSatisfy { $0.header("WebHook-Request-Origin") == "beckon" })
            for path in ["/form", "/plain"] {
                #expect(requests("OPTIONS", path).isEmpty)
                #expect(requests("POST", path).allSatisfy { $0.header("WebHook-Request-Origin") == nil })
            }
            await receiver.stop()
        }
    }
}
