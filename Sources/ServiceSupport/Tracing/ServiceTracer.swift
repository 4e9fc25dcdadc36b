import ChallengeModel
import KafkaClient
import Synchronization
public import Tracing
package import Wire

/// Beckon's tracer behind swift-distributed-tracing. It follows W3C Trace Context, decides which traces are recorded,
/// and gives finished spans to a bounded queue. A ``SpanExporter`` sends them.
///
/// A role without `tracing.endpoint` has no tracer: each place that could make a span tests an optional, and nothing
/// else happens. With a tracer, a piece of work whose trace is not sampled makes no object either.
public final class ServiceTracer: Tracer {
    public typealias Span = ServiceSpan

    let queue: SpanQueue
    /// A new trace is recorded when its random number is below this; `nil`: every trace.
    private let threshold: UInt64?
    private let last: Atomic<UInt64>

    /// - Parameters:
    ///   - ratio: the share of new traces that are recorded, 0 to 1. A trace that a caller has started is recorded when
    ///     the caller records it.
    ///   - limit: finished spans that wait for the exporter; further spans are dropped and counted. Default 2,048.
    public init(ratio: Double, limit: Int = 2048) {
        threshold = ratio >= 1 ? nil : UInt64(max(0, ratio) * 0x1p64)
        queue = SpanQueue(limit: limit)
        last = Atomic(UInt64.random(in: 0...UInt64.max))
    }

    // MARK: - What the roles use

    /// A span after a context that was handed over as text.
    /// - Parameters:
    ///   - context: a `traceparent`, or ``TraceContext/text``.
    /// - Returns: nil, without an allocation, when the trace is not recorded or there is none.
    package func span(
        _ name: @autoclosure () -> String, _ kind: SpanKind, after context: String?,
        at start: DefaultTracerClock.Timestamp? = nil
    ) -> ServiceSpan? {
        guard let context, TraceContext.isSampled(context), let parent = TraceContext(text: context) else { return nil }
        return record(name(), kind, after: parent, isRemote: true, links: [], at: start ?? DefaultTracerClock.now)
    }

    /// The first span of a new trace, whatever the ratio says.
    /// - Parameter link: the context that a caller sent and that this trace does not continue.
    package func root(
        _ name: String, _ kind: SpanKind, link: TraceContext? = nil, at start: DefaultTracerClock.Timestamp? = nil
    ) -> ServiceSpan {
        record(
            name, kind, after: nil, isRemote: false, links: link.map { [$0] } ?? [], at: start ?? DefaultTracerClock.now
        )
    }

    /// Whether a new trace is recorded. Each call decides anew.
    package func samples() -> Bool {
        guard let threshold else { return true }
        return threshold > 0 && number() < threshold
    }

    private func record(
        _ name: String, _ kind: SpanKind, after parent: TraceContext?, isRemote: Bool, links: [TraceContext],
        at start: DefaultTracerClock.Timestamp, in context: InstrumentationContext = .topLevel
    ) -> ServiceSpan {
        let own = TraceContext(
            traceID: parent?.traceID ?? TraceContext.TraceID(high: identifier(), low: identifier()),
            spanID: identifier(),
            // The caller knows how it made its trace id. All 16 bytes of ours are random.
            flags: parent?.flags ?? TraceContext.sampled | TraceContext.random, state: parent?.state ?? "")
        return ServiceSpan(
            recording: FinishedSpan(
                name: name, kind: kind, context: own, parent: parent?.spanID, isParentRemote: isRemote,
                startNanoseconds: start.nanosecondsSinceEpoch, links: links.map { .init(context: $0) }),
            in: context, queue: queue)
    }

    /// Not 0.
    private func identifier() -> UInt64 {
        while true {
            let number = number()
            if number != 0 { return number }
        }
    }

    /// SplitMix64 from a random start: no system call for each number.
    private func number() -> UInt64 {
        var number = last.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
        number = (number ^ number >> 30) &* 0xBF58_476D_1CE4_E5B9
        number = (number ^ number >> 27) &* 0x94D0_49BB_1331_11EB
        return number ^ number >> 31
    }

    // MARK: - Tracer

    public func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> ServiceSpan {
        let context = context()
        let start = DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: instant().nanosecondsSinceEpoch)
        switch context.tracePlace {
        case .notSampled: return ServiceSpan(notSampledIn: context)
        case .after(let parent, let isRemote):
            guard parent.isSampled else { return ServiceSpan(notSampledIn: context) }
            return record(operationName, kind, after: parent, isRemote: isRemote, links: [], at: start, in: context)
        case nil:
            guard samples() else { return ServiceSpan(notSampledIn: context.withoutTrace()) }
            return record(operationName, kind, after: nil, isRemote: false, links: [], at: start, in: context)
        }
    }

    /// Wakes the exporter. It does not wait.
    public func forceFlush() { queue.wake() }

    public func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
        let found = TraceContext(
            traceparent: extractor.extract(key: TraceHeader.traceparent, from: carrier),
            tracestate: extractor.extract(key: TraceHeader.tracestate, from: carrier).map { [$0] } ?? [])
        if let found { context.tracePlace = .after(found, isRemote: true) }
    }

    public func inject<Carrier, Inject: Injector>(
        _ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard case .after(let place, _) = context.tracePlace else { return }
        injector.inject(place.traceparent, forKey: TraceHeader.traceparent, into: &carrier)
        if !place.state.isEmpty { injector.inject(place.state, forKey: TraceHeader.tracestate, into: &carrier) }
    }
}

/// The names of the headers.
enum TraceHeader {
    static let traceparent = "traceparent"
    static let tracestate = "tracestate"
}

/// What an `InstrumentationContext` knows of its trace.
enum TracePlace: Sendable {
    case notSampled
    case after(TraceContext, isRemote: Bool)
}

private enum TracePlaceKey: InstrumentationContextKey {
    typealias Value = TracePlace
}

extension InstrumentationContext {
    var tracePlace: TracePlace? {
        get { self[TracePlaceKey.self] }
        set { self[TracePlaceKey.self] = newValue }
    }

    /// Made once: a context that only says that its trace is not sampled.
    private static let notSampled: InstrumentationContext = {
        var context = InstrumentationContext.topLevel
        context.tracePlace = .notSampled
        return context
    }()

    /// The context, marked so that no later span starts in it. Of an empty context, it allocates nothing.
    func withoutTrace() -> InstrumentationContext {
        guard !isEmpty else { return Self.notSampled }
        var context = self
        context.tracePlace = .notSampled
        return context
    }
}
