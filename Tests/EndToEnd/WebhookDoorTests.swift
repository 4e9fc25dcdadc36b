import Foundation
import Simulators
import Synchronization
import TestSupport
import Testing
import Wire

/// The relay and the API as processes: what only a process can show of the table of addresses to refuse.
@Suite("Ways to a webhook", .timeLimit(.minutes(10)))
struct WebhookDoorTests {
    /// The bodies that a receiver got.
    private final class Inbox: Sendable {
        private let all = Mutex<[String]>([])
        var bodies: [String] { all.withLock { $0 } }
        func take(_ request: ReceivedRequest) -> ReceiverAnswer {
            all.withLock { $0.append(String(decoding: request.body, as: UTF8.self)) }
            return .status(204)
        }
    }

    /// Not 127.0.0.1, which is the broker's address.
    private static let host = "127.0.0.2"

    @Test(
        "rows 68, 71, 72: no proxy of the environment is used, every door refuses with one message, a test is delivered"
    )
    func doors() async throws {
        try await BeckonCluster.with { cluster in
            let certificates = try SimulatedCertificates(hosts: [Self.host])
            let caFile = cluster.folder.appending(path: "hooks.pem").path
            try certificates.writePEM(to: caFile)
            let (inbox, proxied) = (Inbox(), Inbox())
            let hook = SimulatedReceiver(certificates: certificates) { inbox.take($0) }
            let proxy = SimulatedReceiver(certificates: nil) { proxied.take($0) }
            let port = try await hook.start(host: Self.host)
            let proxyURL = "http://127.0.0.1:\(try await proxy.start())"
            let more = [
                "BECKON_WEBHOOKS_ALLOWED_HOSTS": "127.0.0.2/32", "BECKON_WEBHOOKS_CA_FILE": caFile,
                "HTTP_PROXY": proxyURL, "http_proxy": proxyURL, "HTTPS_PROXY": proxyURL, "https_proxy": proxyURL,
                "ALL_PROXY": proxyURL, "all_proxy": proxyURL, "NO_PROXY": "", "no_proxy": "",
            ]
            try cluster.start("producer", "producer", more: more)
            try cluster.start("webhooks", "webhooks", more: more)
            for name in ["producer", "webhooks"] { _ = try await cluster[name]?.ready() }
            let service = try await cluster.backend.createService(friendlyName: "shop")
            let webhooks = "/v2/Services/\(service)/Webhooks"
            func form(_ url: String) -> [(name: String, value: String)] {
                [("FriendlyName", "hook"), ("EventTypes", "*"), ("WebhookUrl", url)]
            }
            let made = try await cluster.backend.request(
                "POST", path: webhooks, form: form("https://\(Self.host):\(port)/hook"))
            let sid = try #require(try JSONParser.parse(made.body)["sid"]?.stringValue)
            _ = try await cluster.backend.request("POST", path: "\(webhooks)/\(sid)/Tests", form: [])
            let end = ContinuousClock.now + .seconds(60)
            while inbox.bodies.isEmpty, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(50)) }
            #expect(inbox.bodies.contains { $0.contains("webhook.test") })
            #expect(proxy.connectionCount == 0 && proxied.bodies.isEmpty)

            var refusals: Set<String> = []
            for url in [
                "https://10.0.0.1/", "https://127.0.0.1:\(port)/", "https://169.254.169.254/latest/meta-data",
                "https://kafka/", "https://\(Self.host).nip.io:22/", "http://\(Self.host):\(port)/", "nonsense",
            ] {
                for path in [webhooks, "\(webhooks)/\(sid)"] {
                    do {
                        _ = try await cluster.backend.request("POST", path: path, form: form(url))
                        Issue.record("\(url) is taken at \(path)")
                    } catch let error as BackendError { refusals.insert("\(error.code) \(error.message)") }
                }
            }
            #expect(refusals.count == 1, "\(refusals)")
            await hook.stop()
            await proxy.stop()
        }
    }
}
