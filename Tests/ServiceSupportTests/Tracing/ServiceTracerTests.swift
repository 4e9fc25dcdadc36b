import ServiceLifecycle
import Testing
import Tracing
import Wire

@testable import ServiceSupport

@Suite("The tracer")
struct ServiceTracerTests {
    private static let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    private static let notSampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

    private struct Headers: Extractor, Injector {
        func extract(key: String, from carrier: [String: String]) -> String? { carrier[key] }
        func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) { carrier[key] = value }
    }

    @Test("a span follows the caller's trace and decision, and keeps its tracestate")
    func following() throws {
        let tracer = ServiceTracer(ratio: 0)
        let span = try #require(tracer.span("send x", .producer, after: Self.sampled + " a=1,b=2"))
        let own = try #require(TraceContext(text: span.text))
        #expect(own.traceID.text == "4bf92f3577b34da6a3ce929d0e0e4736" && own.spanID != 0x00f0_67aa_0ba9_02b7)
        #expect(own.flags == 1, "the caller has not said that its trace id is random")
        #expect(own.state == "a=1,b=2")
        span.end()
        let finished = try #require(tracer.queue.take(10).first)
        #expect(finished.parent == 0x00f0_67aa_0ba9_02b7 && finished.isParentRemote)
        #expect(finished.endNanoseconds >= finished.startNanoseconds)
    }

    @Test(
        "no span is made without a recorded trace, whatever the ratio",
        arguments: [nil, "", "00-a", notSampled, "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
    func none(context: String?) {
        let tracer = ServiceTracer(ratio: 1)
        #expect(tracer.span("x", .client, after: context) == nil)
    }

    @Test("the name of a span that is not made is not built")
    func name() {
        let tracer = ServiceTracer(ratio: 1)
        func build() -> String {
            Issue.record("built")
            return ""
        }
        #expect(tracer.span(build(), .client, after: Self.notSampled) == nil)
        #expect(tracer.span(build(), .client, after: nil) == nil)
    }

    @Test("a new trace says that its id is random, and links to what it does not continue")
    func root() throws {
        let tracer = ServiceTracer(ratio: 1)
        let caller = try #require(TraceContext(traceparent: Self.notSampled))
        let span = tracer.root("GET /x", .server, link: caller)
        let own = try #require(TraceContext(text: span.text))
        #expect(own.flags == 3 && own.traceID != caller.traceID)
        span.end()
        let finished = try #require(tracer.queue.take(10).first)
        #expect(finished.parent == nil && finished.links.map(\.context) == [caller])
    }

    @Test("the ratio is the share of new traces that are recorded", arguments: [0, 0.1, 0.5, 1])
    func ratio(ratio: Double) {
        let tracer = ServiceTracer(ratio: ratio)
        let count = 100_000
        let sampled = (0..<count).count { _ in tracer.samples() }
        // Six standard deviations of the binomial distribution.
        let bound = 6 * (ratio * (1 - ratio) * Double(count)).squareRoot()
        #expect(abs(Double(sampled) - ratio * Double(count)) <= bound)
    }

    @Test("behind swift-distributed-tracing, spans nest, and a trace that is not recorded stays so")
    func nested() throws {
        let tracer = ServiceTracer(ratio: 1)
        tracer.withSpan("outer") { outer in
            tracer.withSpan("inner", ofKind: .client) { inner in
                #expect(inner.isRecording && outer.isRecording)
                inner.attributes["a"] = 1
                inner.addEvent("something")
                inner.addLink(outer)
            }
        }
        let spans = tracer.queue.take(10)
        #expect(spans.map(\.name) == ["inner", "outer"])
        #expect(spans[0].parent == spans[1].context.spanID && !spans[0].isParentRemote)
        #expect(spans[0].events.map(\.name) == ["something"] && spans[0].links.count == 1)

        let never = ServiceTracer(ratio: 0)
        never.withSpan("outer") { outer in
            #expect(!outer.isRecording && outer.attributes.isEmpty)
            never.withSpan("inner") { #expect(!$0.isRecording) }
        }
        #expect(never.queue.count == 0)
    }

    @Test("headers are read and written by the rules of W3C")
    func headers() throws {
        let tracer = ServiceTracer(ratio: 0)
        var context = InstrumentationContext.topLevel
        tracer.extract(["traceparent": Self.sampled, "tracestate": "a=1"], into: &context, using: Headers())
        let span = tracer.startSpan("x", context: context, ofKind: .client)
        #expect(span.isRecording)
        var out: [String: String] = [:]
        tracer.inject(span.context, into: &out, using: Headers())
        #expect(out["traceparent"]?.hasPrefix("00-4bf92f3577b34da6a3ce929d0e0e4736-") == true)
        #expect(out["tracestate"] == "a=1")
        span.end()

        var unchanged: [String: String] = [:]
        tracer.inject(context, into: &unchanged, using: Headers())
        #expect(unchanged == ["traceparent": Self.sampled, "tracestate": "a=1"])

        var none = InstrumentationContext.topLevel
        tracer.extract(["traceparent": "nonsense", "tracestate": "a=1"], into: &none, using: Headers())
        #expect(none.isEmpty)
    }

    @Test("an error leaves its type, not its text")
    func error() throws {
        struct Secret: Error { let token = "hunter2" }
        let tracer = ServiceTracer(ratio: 1)
        #expect(throws: Secret.self) { try tracer.withSpan("x") { _ in throw Secret() } }
        let span = try #require(tracer.queue.take(1).first)
        #expect(span.status?.code == .error && span.events.count == 1)
        #expect(!"\(span)".contains("hunter2"))
    }

    @Test("a span ends once, and takes at most 128 events")
    func bounds() throws {
        let tracer = ServiceTracer(ratio: 1)
        let span = tracer.root("x", .internal)
        for _ in 0..<200 { span.addEvent("e") }
        span.end()
        span.end()
        span.addEvent("late")
        let spans = tracer.queue.take(10)
        #expect(spans.count == 1 && spans[0].events.count == 128 && spans[0].droppedEvents == 72)
        #expect(!span.isRecording)
    }

    @Test("a full queue drops what comes and counts it")
    func full() {
        let tracer = ServiceTracer(ratio: 1, limit: 3)
        for number in 0..<5 { tracer.root("\(number)", .internal).end() }
        #expect(tracer.queue.take(10).map(\.name) == ["0", "1", "2"])
        #expect(tracer.queue.dropped == 2)
    }
}
