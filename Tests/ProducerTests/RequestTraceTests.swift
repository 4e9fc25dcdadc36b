import ChallengeModel
import Challenges
import KafkaClient
import NIOHTTP1
import TestSupport
import Testing
import Tracing
import Wire

@testable import Producer
@testable import ServiceSupport

@Suite("Traces of requests", .timeLimit(.minutes(5)))
struct RequestTraceTests {
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let caller = "00-\(trace)-00f067aa0ba902b7-01"

    @Test("an authenticated backend continues its trace, over the outbox to the record")
    func backend() async throws {
        let tracer = ServiceTracer(ratio: 0)
        try await ProducerHarness.run(adjust: { $0.tracer = tracer }) { producer in
            let service = try await producer.makeService()
            _ = try await producer.enroll("user-0001", service: service)
            #expect(tracer.queue.count == 0, "requests without a context start no trace at the ratio 0")
            let created = try await producer.post(
                "\(service)/Entities/user-0001/Challenges", [("Details.Message", "Log in?")], as: producer.backend,
                headers: [("traceparent", Self.caller), ("tracestate", "a=1")])
            let sid = try created.text("sid")
            let topic = producer.names[.challenges]
            try await TopicTail.following([topic], kafka: producer.kafka, logger: ProducerHarness.logger) { tail in
                try await becomesTrue("the dispatch") { tail.count(of: topic) >= 1 }
                try await becomesTrue("the spans") { tracer.queue.count >= 3 }
                let record = try #require(tail.records(of: topic).first)
                let spans = tracer.queue.take(100)
                let server = try #require(spans.first { $0.kind == .server })
                #expect(server.name.hasPrefix("POST /v2/Services/{") && server.name.hasSuffix("/Challenges"))
                #expect(server.parent == 0x00f0_67aa_0ba9_02b7 && server.context.state == "a=1")
                #expect(server.attributes.get("http.response.status_code") == 201)
                #expect(server.attributes.get("http.request.method") == "POST")
                #expect(
                    server.attributes.get("beckon.request_id")
                        == .string(created.headers.first(name: "Twilio-Request-Id") ?? ""))
                let send = try #require(spans.first { $0.name == "send \(topic)" })
                #expect(send.parent == server.context.spanID && send.kind == .producer)
                #expect(send.attributes.get("messaging.kafka.message.key") == .string(sid))
                #expect(record.headers.traceContext == send.context.text)
                #expect(record.headers.text(of: RecordHeaderName.tracestate) == "a=1")
                #expect(spans.contains { $0.name == "send \(producer.names[.events])" })
                #expect(spans.allSatisfy { $0.context.traceID.text == Self.trace })
                #expect(!"\(spans)".contains("user-0001"), "no span shows an identity")
                #expect(!"\(spans)".contains("Log in?"), "no span shows a payload")
            }
        }
    }

    @Test("nobody else continues a trace or turns recording on", arguments: ["none", "wrong", "device"])
    func strangers(_ kind: String) async throws {
        let tracer = ServiceTracer(ratio: 0)
        try await ProducerHarness.run(adjust: {
            $0.tracer = tracer
            $0.deviceAPI = .init()
        }) { producer in
            let status = try await Self.ask(producer, as: kind)
            #expect(status >= 400 && tracer.queue.count == 0)
        }
    }

    @Test("a trace that starts here links to the caller's", arguments: ["none", "wrong", "device"])
    func linked(_ kind: String) async throws {
        let tracer = ServiceTracer(ratio: 1)
        try await ProducerHarness.run(adjust: {
            $0.tracer = tracer
            $0.deviceAPI = .init()
        }) { producer in
            let status = try await Self.ask(producer, as: kind)
            try await becomesTrue("a span") { tracer.queue.count == 1 }
            let span = try #require(tracer.queue.take(1).first)
            #expect(span.context.traceID.text != Self.trace && span.parent == nil)
            #expect(span.links.map(\.context.text) == [Self.caller])
            #expect(span.attributes.get("http.response.status_code") == .int64(Int64(status)))
            #expect(span.status == nil, "4xx is no failure of the server")
        }
    }

    /// Asks with a sampled context.
    private static func ask(_ producer: ProducerHarness, as kind: String) async throws -> Int {
        let path = "/v2/Services/VA\(String(repeating: "a", count: 32))/Entities/user-0001/Challenges"
        let base = kind == "device" ? try #require(producer.deviceBase) : producer.base
        let wrong = Authorization.basic(producer.account.sid.rawValue, "wrong")
        return try await producer.send(
            "GET", base + path, as: kind == "wrong" ? wrong : nil, headers: [("traceparent", caller)]
        ).status
    }
}
