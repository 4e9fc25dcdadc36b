import AsyncHTTPClient
import ChallengeModel
import DeviceKit
import Foundation
import NIOCore
import NIOHTTP1
import Simulators
import TestSupport
import Testing
import Wire

/// One challenge, three processes, one trace: read by a collector that takes nothing but what OTLP allows.
@Suite("Traces, end to end", .timeLimit(.minutes(10)), .serialized)
struct TraceTests {
    private static let trace = "0af7651916cd43dd8448eb211c80319c"
    private static let caller = "b7ad6b7169203331"
    private static let message = "Transfer 10 to Alice?"

    @Test("the trace of a challenge that is pushed twice and approved is whole")
    func whole() async throws {
        let collector = OTLPReceiver()
        let tracing = ["BECKON_TRACING_ENDPOINT": try await collector.start(), "BECKON_TRACING_RATIO": "0"]
        let phoneLosesOne = PhoneBehaviour.drops(1)
        try await OnePhone.withMore(phoneLosesOne, limits: tracing) { cluster, service, _, phone in
            let sid = try await Self.create(cluster, service)
            try await phone.log.wait(for: .answered, challenge: sid, deadline: .seconds(120))
            let topics = cluster.names
            let steps = [
                Step("beckon-producer", "send \(topics[.challenges])", "POST /v2/"),
                Step("beckon-dispatcher", "process \(topics[.challenges])", "send \(topics[.challenges])", count: 2),
                Step("beckon-dispatcher", "POST apn", "process \(topics[.challenges])", count: 2),
                Step("beckon-dispatcher", "send \(topics[.outcomes])", "process \(topics[.challenges])", count: 2),
                Step("beckon-ack-tracker", "send \(topics[.challenges])", "send \(topics[.challenges])"),
                Step("beckon-ack-tracker", "send \(topics[.events])", "send \(topics[.outcomes])"),
                Step("beckon-producer", "send \(topics[.receipts])", "POST /v2/"),
                Step("beckon-producer", "send \(topics[.resolutions])", "POST /v2/"),
            ]
            let end = ContinuousClock.now + .seconds(120)
            while !Self.isWhole(collector.spans, steps), ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(50))
            }
            let spans = collector.spans
            #expect(collector.faults == [])
            #expect(Self.isWhole(spans, steps), "\(Self.drawing(of: spans))\n\(cluster.tails)")
            #expect(spans.allSatisfy { $0.traceID == Self.trace }, "devices start no trace at the ratio 0")
            #expect(Set(spans.map(\.spanID)).count == spans.count)
            let roots = spans.filter { $0.parentID == Self.caller }
            #expect(roots.count == 1 && roots.first?.kind == 2, "\(roots)")
            #expect(roots.first?.name.hasPrefix("POST /v2/Services/{") == true)

            let attempts = spans.filter {
                $0.service == "beckon-ack-tracker" && $0.name == "send \(topics[.challenges])"
            }
            #expect(attempts.map(\.attributes["beckon.decision"]) == ["attempt"])
            #expect(attempts.map(\.attributes["beckon.dispatch_id"]) == ["t1"])
            let pushes = spans.filter { $0.name == "POST apn" }
            #expect(Set(pushes.map(\.attributes["beckon.dispatch_id"])) == ["c", "t1"])
            for push in pushes {
                #expect(push.kind == 3 && push.attributes["beckon.disposition"] == "accepted")
                #expect(push.attributes["http.response.status_code"] == "200")
            }
            for (role, name) in [
                ("beckon-producer", "producer"), ("beckon-dispatcher", "dispatcher"), ("beckon-ack-tracker", "tracker"),
            ] {
                #expect(spans.contains { $0.service == role }, "no span of \(name)")
            }
            #expect(
                try await cluster.sum(of: "beckon_trace_spans_dropped_total", ["producer", "dispatcher", "tracker"])
                    == 0)

            // What no span may show.
            let sent = collector.requests.map { String(decoding: $0.body, as: UTF8.self) }.joined()
            #expect(sent.contains(sid))
            for secret in [
                OnePhone.identity, Self.message, cluster.account.authToken, phone.device.registration.pushToken ?? "?",
            ] {
                #expect(!sent.contains(secret), "a span shows \(secret)")
            }
        }
        await collector.stop()
    }

    /// Spans of one name, each after a span whose name starts with `parent`.
    private struct Step: Sendable {
        let service: String
        let name: String
        let parent: String
        let count: Int

        init(_ service: String, _ name: String, _ parent: String, count: Int = 1) {
            self.service = service
            self.name = name
            self.parent = parent
            self.count = count
        }
    }

    /// Whether every span's parent is there, and every step.
    private static func isWhole(_ spans: [OTLPReceiver.Span], _ steps: [Step]) -> Bool {
        let known = Dictionary(spans.map { ($0.spanID, $0) }) { first, _ in first }
        guard spans.allSatisfy({ $0.parentID == caller || $0.parentID.map { known[$0] != nil } == true }) else {
            return false
        }
        return steps.allSatisfy { step in
            let found = spans.filter { span in
                span.service == step.service && span.name == step.name
                    && span.parentID.flatMap { known[$0] }?.name.hasPrefix(step.parent) == true
            }
            return found.count >= step.count
        }
    }

    /// The spans as a tree, for the message of a failure.
    private static func drawing(of spans: [OTLPReceiver.Span]) -> String {
        func lines(below parent: String, _ depth: Int) -> [String] {
            spans.filter { $0.parentID == parent }.sorted { $0.start < $1.start }.flatMap { span in
                [String(repeating: "  ", count: depth) + "\(span.service) \(span.name)"]
                    + lines(below: span.spanID, depth + 1)
            }
        }
        let known = Set(spans.map(\.spanID))
        let lost = spans.filter { !($0.parentID == caller || $0.parentID.map(known.contains) == true) }
        return (lines(below: caller, 0) + lost.map { "lost: \($0.service) \($0.name)" }).joined(separator: "\n")
    }

    /// Creates a challenge as a backend that records its trace.
    private static func create(_ cluster: BeckonCluster, _ service: String) async throws -> String {
        var request = HTTPClientRequest(
            url: "\(cluster.apiURL)/v2/Services/\(service)/Entities/\(OnePhone.identity)/Challenges")
        request.method = .POST
        let login = Base64.encode(Array("\(cluster.account.sid):\(cluster.account.authToken)".utf8))
        request.headers = [
            "Authorization": "Basic \(login)", "Content-Type": "application/x-www-form-urlencoded",
            "traceparent": "00-\(trace)-\(caller)-01", "tracestate": "bank=1",
        ]
        let form = Form.encode([
            ("Details.Message", message), ("Redelivery.ExpectedLatency", "1000"), ("Redelivery.MaxAttempts", "2"),
        ])
        request.body = .bytes(Array(form.utf8))
        let response = try await cluster.client.execute(request, timeout: .seconds(60))
        let body = try await response.body.collect(upTo: 1 << 20)
        let json = try JSONParser.parse(Array(body.readableBytesView), .reply)
        return try #require(json["sid"]?.stringValue, "\(json.text)")
    }
}
