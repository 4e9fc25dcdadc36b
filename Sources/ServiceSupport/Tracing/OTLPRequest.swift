import Tracing
import Wire

/// The body of an export request: OTLP/HTTP in JSON (opentelemetry-proto 1.11). It differs from the JSON mapping of
/// protobuf: ids are hexadecimal, and enums are numbers. 64-bit numbers are texts.
struct OTLPRequest {
    /// What describes this process in every request.
    struct Resource: Sendable {
        /// `beckon-<role>`.
        var service: String
        var version: String
        /// A name that no other process has.
        var instance: String
    }

    static func json(_ spans: [FinishedSpan], of resource: Resource) -> [UInt8] {
        var json = JSONWriter(capacity: 512 * spans.count + 1024)
        json.raw(#"{"resourceSpans":[{"resource":{"attributes":"#)
        write(
            [
                ("service.name", .string(resource.service)), ("service.namespace", "beckon"),
                ("service.version", .string(resource.version)), ("service.instance.id", .string(resource.instance)),
            ], to: &json)
        json.raw(#"},"schemaUrl":"#)
        json.string(TraceKey.schemaURL)
        json.raw(#","scopeSpans":[{"scope":{"name":"beckon","version":"#)
        json.string(resource.version)
        json.raw(#"},"schemaUrl":"#)
        json.string(TraceKey.schemaURL)
        json.raw(#","spans":"#)
        json.array(spans) { span, json in write(span, to: &json) }
        json.raw("}]}]}")
        return json.bytes
    }

    private static func write(_ span: FinishedSpan, to json: inout JSONWriter) {
        json.raw("{")
        write(span.context, to: &json)
        if let parent = span.parent {
            json.raw(#","parentSpanId":"#)
            json.string(Hexadecimal.encode(parent, digits: 16))
        }
        json.raw(#","flags":"#)
        json.integer(flags(span.context, isRemote: span.isParentRemote))
        json.raw(#","name":"#)
        json.string(span.name)
        json.raw(#","kind":"#)
        json.integer(number(span.kind))
        json.raw(#","startTimeUnixNano":"#)
        json.string(String(span.startNanoseconds))
        json.raw(#","endTimeUnixNano":"#)
        json.string(String(span.endNanoseconds))
        json.raw(#","attributes":"#)
        write(span.attributes, to: &json)
        if !span.events.isEmpty {
            json.raw(#","events":"#)
            json.array(span.events) { event, json in
                json.raw(#"{"timeUnixNano":"#)
                json.string(String(event.nanosecondsSinceEpoch))
                json.raw(#","name":"#)
                json.string(event.name)
                json.raw(#","attributes":"#)
                write(event.attributes, to: &json)
                json.raw("}")
            }
        }
        if span.droppedEvents > 0 {
            json.raw(#","droppedEventsCount":"#)
            json.integer(Int64(span.droppedEvents))
        }
        if !span.links.isEmpty {
            json.raw(#","links":"#)
            json.array(span.links) { link, json in
                json.raw("{")
                write(link.context, to: &json)
                json.raw(#","flags":"#)
                json.integer(flags(link.context, isRemote: true))
                json.raw(#","attributes":"#)
                write(link.attributes, to: &json)
                json.raw("}")
            }
        }
        if span.droppedLinks > 0 {
            json.raw(#","droppedLinksCount":"#)
            json.integer(Int64(span.droppedLinks))
        }
        if let status = span.status {
            json.raw(#","status":{"code":"#)
            json.integer(status.code == .ok ? 1 : 2)
            if let message = status.message {
                json.raw(#","message":"#)
                json.string(message)
            }
            json.raw("}")
        }
        json.raw("}")
    }

    /// The members `traceId`, `spanId` and `traceState`.
    private static func write(_ context: TraceContext, to json: inout JSONWriter) {
        json.raw(#""traceId":"#)
        json.string(context.traceID.text)
        json.raw(#","spanId":"#)
        json.string(Hexadecimal.encode(context.spanID, digits: 16))
        guard !context.state.isEmpty else { return }
        json.raw(#","traceState":"#)
        json.string(context.state)
    }

    /// The W3C flags in the low byte; 0x100: it is known whether the context came from another process; 0x200: it did.
    private static func flags(_ context: TraceContext, isRemote: Bool) -> Int64 {
        Int64(context.flags) | 0x100 | (isRemote ? 0x200 : 0)
    }

    private static func number(_ kind: SpanKind) -> Int64 {
        switch kind {
        case .internal: 1
        case .server: 2
        case .client: 3
        case .producer: 4
        case .consumer: 5
        }
    }

    private static func write(_ attributes: SpanAttributes, to json: inout JSONWriter) {
        var list: [(String, SpanAttribute)] = []
        attributes.forEach { list.append(($0, $1)) }
        write(list.sorted { $0.0 < $1.0 }, to: &json)
    }

    private static func write(_ attributes: [(String, SpanAttribute)], to json: inout JSONWriter) {
        json.array(attributes) { attribute, json in
            json.raw(#"{"key":"#)
            json.string(attribute.0)
            json.raw(#","value":"#)
            write(attribute.1, to: &json)
            json.raw("}")
        }
    }

    private static func write(_ value: SpanAttribute, to json: inout JSONWriter) {
        switch value {
        case .string(let text): member("stringValue", &json) { $0.string(text) }
        case .stringConvertible(let value): member("stringValue", &json) { $0.string("\(value)") }
        case .int32(let number): member("intValue", &json) { $0.string(String(number)) }
        case .int64(let number): member("intValue", &json) { $0.string(String(number)) }
        case .bool(let value): member("boolValue", &json) { $0.boolean(value) }
        case .double(let number): member("doubleValue", &json) { write(number, to: &$0) }
        case .stringArray(let values): array(values.map { .string($0) }, to: &json)
        case .stringConvertibleArray(let values): array(values.map { .string("\($0)") }, to: &json)
        case .int32Array(let values): array(values.map { .int32($0) }, to: &json)
        case .int64Array(let values): array(values.map { .int64($0) }, to: &json)
        case .boolArray(let values): array(values.map { .bool($0) }, to: &json)
        case .doubleArray(let values): array(values.map { .double($0) }, to: &json)
        default: member("stringValue", &json) { $0.string("?") }
        }
    }

    private static func array(_ values: [SpanAttribute], to json: inout JSONWriter) {
        member("arrayValue", &json) { json in
            json.raw(#"{"values":"#)
            json.array(values) { write($0, to: &$1) }
            json.raw("}")
        }
    }

    /// JSON has no numbers for these three values; OTLP writes them as texts.
    private static func write(_ number: Double, to json: inout JSONWriter) {
        if number.isFinite { return json.number("\(number)") }
        json.string(number.isNaN ? "NaN" : number > 0 ? "Infinity" : "-Infinity")
    }

    private static func member(_ name: String, _ json: inout JSONWriter, _ write: (inout JSONWriter) -> Void) {
        json.raw("{")
        json.name(name)
        write(&json)
        json.raw("}")
    }
}
