import Testing

@testable import Wire

@Suite("W3C Trace Context")
struct TraceContextTests {
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let span = "00f067aa0ba902b7"
    private static let good = "00-\(trace)-\(span)-01"

    @Test(
        "a valid traceparent is read, and written with version 00 and the flags of level 2",
        arguments: [
            (good, good),
            ("00-\(trace)-\(span)-00", "00-\(trace)-\(span)-00"),
            ("00-\(trace)-\(span)-03", "00-\(trace)-\(span)-03"),
            ("00-\(trace)-\(span)-ff", "00-\(trace)-\(span)-03"),
            ("01-\(trace)-\(span)-01", good),
            ("fe-\(trace)-\(span)-01-whatever follows", good),
            ("cc-\(trace)-\(span)-01-", good),
        ])
    func valid(text: String, written: String) throws {
        let context = try #require(TraceContext(traceparent: text))
        #expect(context.traceparent == written)
        #expect(context.traceID.text == Self.trace)
        #expect(context.isSampled == !written.hasSuffix("00"))
        #expect(TraceContext.isSampled(context.text) == context.isSampled)
        #expect(TraceContext.traceID(of: context.text).map(String.init) == Self.trace)
    }

    @Test(
        "any other traceparent is none, and its tracestate is dropped",
        arguments: [
            nil, "", "00", "ff-\(trace)-\(span)-01", good.uppercased(), good + "-", good + "-00", good + "0",
            "00-\(trace.uppercased())-\(span)-01", "00-\(trace)-\(span.uppercased())-01", "00-\(trace)-\(span)-0A",
            "0A-\(trace)-\(span)-01", "00-00000000000000000000000000000000-\(span)-01",
            "00-\(trace)-0000000000000000-01", "00_\(trace)-\(span)-01", "00-\(trace)_\(span)-01",
            "00-\(trace)-\(span)_01", "00-\(trace)-\(span)-", "00-\(trace)-\(span)-1", "0-\(trace)-\(span)-01",
            " \(good)", "\(good) ", "01-\(trace)-\(span)-01.", "00-\(trace)-\(span)-0g", "\(good),\(good)",
        ] as [String?])
    func invalid(text: String?) {
        #expect(TraceContext(traceparent: text, tracestate: ["a=1"]) == nil)
    }

    @Test(
        "a tracestate is passed on as one list",
        arguments: [
            (["a=1"], "a=1"), (["a=1,b=2"], "a=1,b=2"), (["a=1", "b=2"], "a=1,b=2"), (["a=1 ,\tb=2"], "a=1,b=2"),
            (["a=1,,b=2", ""], "a=1,b=2"), (["1tenant@vendor=x y"], "1tenant@vendor=x y"),
            (["a_-*/@0=!~"], "a_-*/@0=!~"),
            (["a="], "a="),
        ] as [([String], String)])
    func state(headers: [String], text: String) throws {
        let context = try #require(TraceContext(traceparent: Self.good, tracestate: headers))
        #expect(context.state == text)
        #expect(context.text == Self.good + " " + text)
        #expect(TraceContext(text: context.text) == context)
        let (parent, state) = TraceContext.split(context.text)
        #expect(parent == Self.good && state == text)
    }

    @Test(
        "a faulty tracestate is dropped, and the traceparent stays",
        arguments: [
            ["a"], ["=1"], ["A=1"], ["a b=1"], ["a=1=2"], ["a=\u{e9}"], ["a=1,a=2"], ["a=1", "a=2"], ["_a=1"],
            ["a=" + String(repeating: "x", count: 257)], [String(repeating: "k", count: 257) + "=1"],
            [(0..<33).map { "k\($0)=1" }.joined(separator: ",")], ["a=\u{7}"],
        ])
    func faultyState(headers: [String]) throws {
        let context = try #require(TraceContext(traceparent: Self.good, tracestate: headers))
        #expect(context.state.isEmpty)
        #expect(context.text == Self.good)
    }

    @Test("a list of 32 members, and one of 512 characters, is passed on whole")
    func limits() throws {
        let many = (0..<32).map { "k\($0)=1" }.joined(separator: ",")
        #expect(TraceState.text(of: [many]) == many)
        let long = "a=" + String(repeating: "x", count: 254) + ",b=" + String(repeating: "y", count: 253)
        #expect(long.utf8.count == 512)
        #expect(TraceState.text(of: [long]) == long)
    }

    @Test("a longer list loses whole members: first those with more than 128 characters, then those at the end")
    func cut() {
        let long = "long=" + String(repeating: "x", count: 200)
        let short = (0..<20).map { "k\($0)=" + String(repeating: "y", count: 12) }
        #expect(TraceState.text(of: [([long] + short).joined(separator: ",")]) == short.joined(separator: ","))
        let even = (0..<10).map { "k\($0)=" + String(repeating: "z", count: 97) }
        #expect(TraceState.text(of: [even.joined(separator: ",")]) == even.prefix(5).joined(separator: ","))
    }

    @Test(
        "the flag of a text that is no context is not set", arguments: ["", "00-a", String(repeating: "1", count: 54)])
    func shortText(text: String) {
        #expect(!TraceContext.isSampled(text))
        #expect(TraceContext.traceID(of: text) == nil)
        #expect(TraceContext(text: text) == nil)
    }
}
