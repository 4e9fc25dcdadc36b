import Foundation
public import Simulators
import Synchronization
import Wire

/// A collector for tests: OTLP/HTTP in JSON, decoded by the rules of opentelemetry-proto 1.11 and nothing else. Every
/// deviation becomes one of ``faults``: an unknown member, a wrong type, an id that is not lower-case hexadecimal, an
/// enum that is not a number, a 64-bit number that is not a decimal text.
public final class OTLPReceiver: Sendable {
    public struct Span: Sendable, Hashable {
        public struct Link: Sendable, Hashable {
            public var traceID = ""
            public var spanID = ""
        }

        public var service = ""
        public var traceID = ""
        public var spanID = ""
        public var parentID: String?
        public var traceState = ""
        public var flags: Int64 = 0
        public var name = ""
        public var kind: Int64 = 0
        public var start: UInt64 = 0
        public var end: UInt64 = 0
        /// As text, whatever their type.
        public var attributes: [String: String] = [:]
        public var events: [String] = []
        public var links: [Link] = []
        public var status: Int64 = 0
    }

    private struct State {
        var spans: [Span] = []
        var faults: [String] = []
        var requests: [ReceivedRequest] = []
    }

    private let state = Mutex(State())
    private let receiver = Mutex<SimulatedReceiver?>(nil)
    private let script: @Sendable (Int) -> ReceiverAnswer

    /// What a collector answers that has taken everything.
    public static let taken = ReceiverAnswer.status(200, headers: [("Content-Type", "application/json")], body: "{}")

    /// - Parameter script: the answer to the request of this number, from 1. Requests that are answered with 200 are
    ///   decoded.
    public init(script: @escaping @Sendable (Int) -> ReceiverAnswer = { _ in OTLPReceiver.taken }) {
        self.script = script
    }

    /// - Returns: the endpoint for `tracing.endpoint`.
    public func start() async throws -> String {
        let made = SimulatedReceiver(certificates: nil) { [self] in take($0) }
        let port = try await made.start()
        receiver.withLock { $0 = made }
        return "http://127.0.0.1:\(port)"
    }

    public func stop() async {
        let made = receiver.withLock { $0.take() }
        await made?.stop()
    }

    public var spans: [Span] { state.withLock { $0.spans } }
    public var faults: [String] { state.withLock { $0.faults } }
    public var requests: [ReceivedRequest] { state.withLock { $0.requests } }

    private func take(_ request: ReceivedRequest) -> ReceiverAnswer {
        let number = state.withLock { state in
            state.requests.append(request)
            return state.requests.count
        }
        let answer = script(number)
        var decoder = OTLPDecoder()
        decoder.decode(request)
        let isTaken = if case .status(200, _, _, _) = answer { true } else { false }
        state.withLock { state in
            state.faults += decoder.faults
            if isTaken { state.spans += decoder.spans }
        }
        return answer
    }
}

/// Decodes one request.
private struct OTLPDecoder {
    var spans: [OTLPReceiver.Span] = []
    var faults: [String] = []

    mutating func decode(_ request: ReceivedRequest) {
        if request.target != "/v1/traces" { fault("the path is \(request.target)") }
        if request.header("content-type") != "application/json" {
            fault("the content type is \(request.header("content-type") ?? "missing")")
        }
        guard let json = try? JSONParser.parse(request.body, .reply) else { return fault("the body is no JSON") }
        for part in elements(member(json, "", ["resourceSpans"], "resourceSpans"), "resourceSpans") {
            decode(resource: part)
        }
    }

    private mutating func decode(resource json: JSONValue) {
        let allowed = ["resource", "schemaUrl", "scopeSpans"]
        var attributes: [String: String] = [:]
        if let resource = member(json, "resourceSpans", allowed, "resource") {
            attributes = self.attributes(
                member(resource, "resource", ["attributes", "droppedAttributesCount"], "attributes"), "resource")
        }
        if text(member(json, "resourceSpans", allowed, "schemaUrl"), "schemaUrl")?.hasPrefix("https://") != true {
            fault("schemaUrl is no URL")
        }
        let service = attributes["service.name"] ?? ""
        if service.isEmpty { fault("the resource has no service.name") }
        for part in elements(member(json, "resourceSpans", allowed, "scopeSpans"), "scopeSpans") {
            let allowed = ["scope", "spans", "schemaUrl"]
            if let scope = member(part, "scopeSpans", allowed, "scope") {
                let allowed = ["name", "version", "attributes", "droppedAttributesCount"]
                if text(member(scope, "scope", allowed, "name"), "scope.name")?.isEmpty != false {
                    fault("the scope has no name")
                }
            }
            for span in elements(member(part, "scopeSpans", allowed, "spans"), "spans") {
                var read = decode(span: span)
                read.service = service
                spans.append(read)
            }
        }
    }

    private static let spanMembers = [
        "traceId", "spanId", "traceState", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano",
        "endTimeUnixNano", "attributes", "droppedAttributesCount", "events", "droppedEventsCount", "links",
        "droppedLinksCount", "status",
    ]

    private mutating func decode(span json: JSONValue) -> OTLPReceiver.Span {
        func find(_ name: String) -> JSONValue? { json[name] }
        var span = OTLPReceiver.Span()
        check(json, "span", Self.spanMembers)
        span.traceID = identifier(find("traceId"), digits: 32, "traceId")
        span.spanID = identifier(find("spanId"), digits: 16, "spanId")
        if let parent = find("parentSpanId") { span.parentID = identifier(parent, digits: 16, "parentSpanId") }
        if let state = find("traceState") { span.traceState = text(state, "traceState") ?? "" }
        span.flags = number(find("flags"), 0...0xffff_ffff, "flags")
        if span.flags & 0x100 == 0 { fault("flags \(span.flags) do not say whether the parent is remote") }
        if span.flags & 1 == 0 { fault("flags \(span.flags) of a span that is not sampled") }
        span.name = text(find("name"), "name") ?? ""
        if span.name.isEmpty { fault("a span has no name") }
        span.kind = number(find("kind"), 1...5, "kind")
        span.start = time(find("startTimeUnixNano"), "startTimeUnixNano")
        span.end = time(find("endTimeUnixNano"), "endTimeUnixNano")
        if span.end < span.start { fault("\(span.name) ends before it starts") }
        span.attributes = attributes(find("attributes"), span.name)
        if let events = find("events") {
            for event in elements(events, "events") {
                check(event, "event", ["timeUnixNano", "name", "attributes", "droppedAttributesCount"])
                _ = time(event["timeUnixNano"], "timeUnixNano")
                span.events.append(text(event["name"], "event.name") ?? "")
                _ = attributes(event["attributes"], "event")
            }
        }
        if let links = find("links") {
            for link in elements(links, "links") {
                check(
                    link, "link", ["traceId", "spanId", "traceState", "attributes", "droppedAttributesCount", "flags"])
                span.links.append(
                    .init(
                        traceID: identifier(link["traceId"], digits: 32, "link.traceId"),
                        spanID: identifier(link["spanId"], digits: 16, "link.spanId")))
                _ = attributes(link["attributes"], "link")
            }
        }
        for count in ["droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"] {
            if let value = find(count) { _ = number(value, 0...0xffff_ffff, count) }
        }
        if let status = find("status") {
            check(status, "status", ["code", "message"])
            span.status = number(status["code"], 0...2, "status.code")
            if let message = status["message"] { _ = text(message, "status.message") }
        }
        return span
    }

    // MARK: - Values

    private mutating func attributes(_ json: JSONValue?, _ place: String) -> [String: String] {
        var found: [String: String] = [:]
        for attribute in elements(json, "\(place).attributes") {
            check(attribute, "attribute", ["key", "value"])
            let key = text(attribute["key"], "key") ?? ""
            if key.isEmpty || found[key] != nil { fault("\(place): the key \"\(key)\" is empty or stands twice") }
            found[key] = value(attribute["value"], "\(place).\(key)")
        }
        return found
    }

    /// One of the members of `AnyValue`, as text.
    private mutating func value(_ json: JSONValue?, _ place: String) -> String {
        guard let members = json?.members, members.count == 1, let (kind, value) = members.first else {
            fault("\(place): expected exactly one value")
            return ""
        }
        switch (kind, value) {
        case ("stringValue", .string(let text)): return text
        case ("boolValue", .boolean(let value)): return "\(value)"
        case ("intValue", .string(let text)):
            if Int64(text) == nil { fault("\(place): intValue \"\(text)\" is no decimal number") }
            return text
        case ("doubleValue", .integer(let number)): return "\(number)"
        case ("doubleValue", .number(let text)): return text
        case ("doubleValue", .string(let text)) where ["NaN", "Infinity", "-Infinity"].contains(text): return text
        case ("arrayValue", .object):
            check(value, place, ["values"])
            return elements(value["values"], place).map { self.value($0, place) }.joined(separator: ",")
        default:
            fault("\(place): \(kind) has a wrong name or type")
            return ""
        }
    }

    private mutating func identifier(_ json: JSONValue?, digits: Int, _ place: String) -> String {
        let found = text(json, place) ?? ""
        let isRight =
            found.utf8.count == digits && found.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) }
            && found.contains { $0 != "0" }
        if !isRight { fault("\(place) \"\(found)\" is not \(digits) lower-case hexadecimal digits") }
        return found
    }

    private mutating func time(_ json: JSONValue?, _ place: String) -> UInt64 {
        guard let found = text(json, place), let number = UInt64(found), String(number) == found,
            number > 1_600_000_000_000_000_000
        else {
            fault("\(place) is no decimal text of nanoseconds since 1970")
            return 0
        }
        return number
    }

    private mutating func number(_ json: JSONValue?, _ range: ClosedRange<Int64>, _ place: String) -> Int64 {
        guard case .integer(let number)? = json, range.contains(number) else {
            fault("\(place) is not a number in \(range)")
            return 0
        }
        return number
    }

    private mutating func text(_ json: JSONValue?, _ place: String) -> String? {
        guard case .string(let text)? = json else {
            fault("\(place) is no text")
            return nil
        }
        return text
    }

    private mutating func elements(_ json: JSONValue?, _ place: String) -> [JSONValue] {
        guard case .array(let elements)? = json else {
            fault("\(place) is no list")
            return []
        }
        return elements
    }

    private mutating func member(_ json: JSONValue, _ place: String, _ allowed: [String], _ name: String) -> JSONValue?
    {
        check(json, place, allowed)
        return json[name]
    }

    private mutating func check(_ json: JSONValue, _ place: String, _ allowed: [String]) {
        guard let members = json.members else { return fault("\(place) is no object") }
        for (name, _) in members where !allowed.contains(name) { fault("\(place) has the unknown member \(name)") }
        if Set(members.map(\.name)).count != members.count { fault("\(place) has a member twice") }
    }

    private mutating func fault(_ what: String) { faults.append(what) }
}
