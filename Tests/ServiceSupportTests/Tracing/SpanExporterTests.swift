import Foundation
import Logging
import ServiceLifecycle
import Simulators
import Synchronization
import TestSupport
import Testing
import Tracing
import Wire

@testable import ServiceSupport

@Suite("The exporter of spans", .timeLimit(.minutes(5)))
struct SpanExporterTests {
    private static let resource = OTLPRequest.Resource(service: "beckon-test", version: "1", instance: "i")
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Runs an exporter against `receiver` until `body` returns, and then stops it in order.
    private func with(
        _ receiver: OTLPReceiver, tracer: ServiceTracer = ServiceTracer(ratio: 1),
        _ change: (inout SpanExporter.Bounds) -> Void = { _ in }, headers: [String: String] = [:],
        _ body: @escaping @Sendable (ServiceTracer, SpanExporter) async throws -> Void
    ) async throws -> SpanExporter.Counts {
        let endpoint = try await receiver.start()
        var bounds = SpanExporter.Bounds()
        bounds.interval = .milliseconds(20)
        bounds.firstWait = .milliseconds(10)
        // A receiver on a slow machine is not one that hangs: a request that is repeated would be a second one here.
        bounds.request = .seconds(100)
        bounds.flush = .seconds(60)
        change(&bounds)
        let exporter = SpanExporter(
            TracingConfiguration(endpoint: endpoint, ratio: 1, headers: headers), tracer: tracer,
            resource: Self.resource, bounds: bounds, logger: logger)
        let group = ServiceGroup(configuration: .init(services: [exporter], logger: logger))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            try await body(tracer, exporter)
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
        await receiver.stop()
        return exporter.counts
    }

    private func eventually(_ what: String, _ condition: @Sendable () -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(120)
        while !condition() {
            guard ContinuousClock.now < end else { throw BeckonProcess.Failure(description: "no \(what)") }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    @Test("spans arrive as a strict receiver wants them, with every kind of value")
    func format() async throws {
        let receiver = OTLPReceiver()
        let counts = try await with(receiver, headers: ["x-key": "k"]) { tracer, exporter in
            let span = try #require(
                tracer.span(
                    "send t \"quoted\"", .producer,
                    after: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 a=1"))
            span.attributes = [
                "text": "x\n\u{1}", "integer": .int64(.max), "small": .int32(-1), "double": 0.5, "flag": true,
                "texts": .stringArray(["a", "b"]), "integers": .int64Array([1, 2]), "nan": .double(.nan),
                "whole": .double(2), "flags": .boolArray([true, false]), "doubles": .doubleArray([1.5]),
            ]
            span.addEvent(SpanEvent(name: "event", attributes: ["a": 1]))
            span.setStatus(SpanStatus(code: .error, message: "why"))
            span.end()
            let root = tracer.root(
                "GET /x", .server,
                link: TraceContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"))
            root.end()
            for kind in [SpanKind.internal, .client, .consumer] { tracer.root("k", kind).end() }
            try await eventually("spans") { exporter.counts.exported == 5 }
        }
        #expect(receiver.faults == [])
        #expect(counts == SpanExporter.Counts(exported: 5))
        let spans = receiver.spans
        #expect(spans.map(\.kind) == [4, 2, 1, 3, 5])
        let first = try #require(spans.first)
        #expect(first.service == "beckon-test" && first.name == "send t \"quoted\"" && first.traceState == "a=1")
        #expect(first.parentID == "00f067aa0ba902b7" && first.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(first.flags == 0x301 && first.status == 2 && first.events == ["event"])
        #expect(first.attributes["integer"] == "9223372036854775807" && first.attributes["text"] == "x\n\u{1}")
        #expect(first.attributes["integers"] == "1,2" && first.attributes["nan"] == "NaN")
        #expect(spans[1].parentID == nil && spans[1].flags == 0x103)
        #expect(spans[1].links.map(\.spanID) == ["00f067aa0ba902b7"])
        #expect(receiver.requests.allSatisfy { $0.header("x-key") == "k" })
    }

    @Test(
        "what a collector may answer later is tried again, with the same spans",
        arguments: [
            .status(429), .status(502), .status(503, headers: [("Retry-After", "0")]), .status(504), .close, .raw(""),
            .status(503, headers: [("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        ] as [ReceiverAnswer])
    func retried(answer: ReceiverAnswer) async throws {
        let receiver = OTLPReceiver { $0 <= 2 ? answer : OTLPReceiver.taken }
        let counts = try await with(receiver) { tracer, exporter in
            tracer.root("x", .internal).end()
            try await eventually("the span") { exporter.counts.exported == 1 }
        }
        #expect(counts == SpanExporter.Counts(exported: 1))
        #expect(receiver.spans.count == 1 && receiver.faults == [])
        let bodies = Set(receiver.requests.map(\.body))
        #expect(receiver.requests.count == 3 && bodies.count == 1)
    }

    @Test("the collector says when it is asked again")
    func retryAfter() async throws {
        let times = Mutex<[ContinuousClock.Instant]>([])
        let receiver = OTLPReceiver { number in
            times.withLock { $0.append(.now) }
            return number == 1 ? .status(503, headers: [("Retry-After", "1")]) : OTLPReceiver.taken
        }
        _ = try await with(receiver) { tracer, exporter in
            tracer.root("x", .internal).end()
            try await eventually("the span") { exporter.counts.exported == 1 }
        }
        let asked = times.withLock { $0 }
        #expect(asked.count == 2 && asked[1] - asked[0] >= .seconds(1))
    }

    @Test("a refusal is final, and counted", arguments: [400, 401, 404, 413, 500])
    func refused(status: Int) async throws {
        let receiver = OTLPReceiver { _ in .status(status) }
        let counts = try await with(receiver) { tracer, exporter in
            tracer.root("x", .internal).end()
            try await eventually("the refusal") { exporter.counts.refused == 1 }
        }
        #expect(counts == SpanExporter.Counts(refused: 1))
        #expect(receiver.requests.count == 1)
    }

    @Test("a partial success is not tried again", arguments: [#""2""#, "2"])
    func partial(rejected: String) async throws {
        let receiver = OTLPReceiver { _ in
            .status(200, body: #"{"partialSuccess":{"rejectedSpans":\#(rejected),"errorMessage":"too old"}}"#)
        }
        let tracer = ServiceTracer(ratio: 1)
        for _ in 0..<3 { tracer.root("x", .internal).end() }
        let counts = try await with(receiver, tracer: tracer) { _, exporter in
            try await eventually("the answer") { exporter.counts.exported == 1 }
        }
        #expect(counts == SpanExporter.Counts(exported: 1, refused: 2))
        #expect(receiver.requests.count == 1)
    }

    @Test("a request has at most 512 spans, and 512 spans do not wait for the next second")
    func batches() async throws {
        let receiver = OTLPReceiver()
        let counts = try await with(receiver) {
            $0.interval = .seconds(3600)
        } _: { tracer, exporter in
            for _ in 0..<512 { tracer.root("x", .internal).end() }
            try await eventually("a batch") { exporter.counts.exported == 512 }
            #expect(receiver.requests.count == 1)
            for _ in 0..<700 { tracer.root("x", .internal).end() }
            try await eventually("the next batch") { exporter.counts.exported == 1024 }
        }
        #expect(counts.exported == 1212)
        // The end of the service may break off a request that the collector has taken: its spans come once more.
        #expect(
            Set(receiver.spans.map(\.spanID)).count == 1212 && receiver.faults == [],
            "\(receiver.spans.count) in \(receiver.requests.count) requests, \(receiver.faults)")
    }

    @Test("a collector that hangs holds nobody up: spans wait, then they are dropped and counted")
    func hanging() async throws {
        let receiver = OTLPReceiver { _ in .hang }
        let tracer = ServiceTracer(ratio: 1, limit: 100)
        let counts = try await with(receiver, tracer: tracer) {
            $0.flush = .milliseconds(50)
        } _: { tracer, _ in
            tracer.root("first", .internal).end()
            try await eventually("a request") { receiver.requests.count >= 1 }
            for _ in 0..<150 { tracer.root("x", .internal).end() }
        }
        #expect(tracer.queue.dropped == 50)
        #expect(counts.exported == 0 && counts.unreachable + counts.stopped == 101, "\(counts)")
    }

    @Test("a stop sends what is left, also what was on its way")
    func flushed() async throws {
        let receiver = OTLPReceiver { $0 == 1 ? .hang : OTLPReceiver.taken }
        let counts = try await with(receiver) { tracer, _ in
            tracer.root("on its way", .internal).end()
            try await eventually("a request") { receiver.requests.count == 1 }
            tracer.root("waiting", .internal).end()
        }
        #expect(counts == SpanExporter.Counts(exported: 2))
        #expect(Set(receiver.spans.map(\.name)) == ["on its way", "waiting"])
    }

    @Test("a stop waits for a dead collector only so long")
    func deadline() async throws {
        let receiver = OTLPReceiver { _ in .hang }
        let counts = try await with(receiver) {
            $0.interval = .seconds(3600)
            $0.flush = .milliseconds(50)
        } _: { tracer, _ in
            for _ in 0..<600 { tracer.root("x", .internal).end() }
        }
        #expect(counts.unreachable + counts.stopped == 600 && counts.exported == 0, "\(counts)")
    }

    @Test("the counters are shown at /metrics")
    func metrics() async throws {
        let registry = PrometheusRegistry(ProcessMetrics.families)
        #expect(registry.render().contains("beckon_trace_spans_dropped_total{reason=\"queue\"} 0"))
        let tracer = ServiceTracer(ratio: 1, limit: 1)
        let exporter = SpanExporter(
            TracingConfiguration(endpoint: "http://127.0.0.1:1", ratio: 1), tracer: tracer, role: "test", version: "1",
            instance: "i", logger: logger)
        exporter.observe(in: registry)
        for _ in 0..<3 { tracer.root("x", .internal).end() }
        let text = registry.render()
        #expect(text.contains("beckon_trace_spans_dropped_total{reason=\"queue\"} 2"))
        #expect(text.contains("beckon_trace_spans_exported_total 0"))
    }

    @Test("without an endpoint there is no tracer; the values are checked")
    func settings() async throws {
        func read(_ environment: [String: String]) async throws -> TracingConfiguration? {
            try TracingConfiguration(
                try await Settings(role: .dispatcher, arguments: [], environment: environment))
        }
        #expect(try await read([:]) == nil)
        #expect(try await read(["BECKON_TRACING_RATIO": "1"]) == nil)
        let made = try await read([
            "BECKON_TRACING_ENDPOINT": "http://collector:4318", "BECKON_TRACING_RATIO": "0.25",
            "BECKON_TRACING_HEADERS": "authorization=Bearer x=y",
        ])
        #expect(made?.ratio == 0.25 && made?.headers == ["authorization": "Bearer x=y"])
        for (name, value) in [
            ("BECKON_TRACING_RATIO", "2"), ("BECKON_TRACING_RATIO", "much"), ("BECKON_TRACING_ENDPOINT", "collector"),
            ("BECKON_TRACING_CA_FILE", "/nowhere.pem"),
        ] {
            await #expect(throws: SettingsError.self) {
                _ = try await read(["BECKON_TRACING_ENDPOINT": "http://c"].merging([name: value]) { $1 })
            }
        }
    }
}
