import Synchronization
public import Tracing
import Wire

/// A span of ``ServiceTracer``. A span of a trace that is not sampled records nothing and holds no object of its own.
public struct ServiceSpan: Span {
    public let context: InstrumentationContext
    private let recording: Recording?

    /// The state of a recorded span until its end.
    private final class Recording: Sendable {
        let span: Mutex<FinishedSpan?>
        let queue: SpanQueue

        init(_ span: FinishedSpan, _ queue: SpanQueue) {
            self.span = Mutex(span)
            self.queue = queue
        }
    }

    init(notSampledIn context: InstrumentationContext) {
        self.context = context
        recording = nil
    }

    init(recording span: FinishedSpan, in context: InstrumentationContext, queue: SpanQueue) {
        var context = context
        context.tracePlace = .after(span.context, isRemote: false)
        self.context = context
        recording = Recording(span, queue)
    }

    /// ``TraceContext/text`` of this span, for the header of a record or request that follows it.
    package var text: String {
        guard case .after(let place, _) = context.tracePlace else { return "" }
        return place.text
    }

    public var isRecording: Bool { recording?.span.withLock { $0 != nil } ?? false }

    public var operationName: String {
        get { recording?.span.withLock { $0?.name } ?? "" }
        nonmutating set { change { $0.name = newValue } }
    }

    public var attributes: SpanAttributes {
        get { recording?.span.withLock { $0?.attributes } ?? [:] }
        nonmutating set { change { $0.attributes = newValue } }
    }

    /// Sets one attribute.
    package func set(_ key: TraceKey, _ value: SpanAttribute) {
        change { $0.attributes[key.rawValue] = value }
    }

    public func setStatus(_ status: SpanStatus) { change { $0.status = status } }

    /// Marks the span as failed.
    /// - Parameter type: a word of a small, fixed set.
    package func fail(_ type: String) {
        change { span in
            span.status = SpanStatus(code: .error)
            span.attributes[TraceKey.errorType.rawValue] = SpanAttribute.string(type)
        }
    }

    public func addEvent(_ event: SpanEvent) {
        change { $0.events.append(event, orCount: &$0.droppedEvents) }
    }

    public func addLink(_ link: SpanLink) {
        guard case .after(let place, _) = link.context.tracePlace else { return }
        change { span in
            span.links.append(.init(context: place, attributes: link.attributes), orCount: &span.droppedLinks)
        }
    }

    /// Records the type of the error. The text of an error may contain anything, so it is left out.
    public func recordError<Instant: TracerInstant>(
        _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
    ) {
        guard recording != nil else { return }
        var attributes = attributes
        attributes["exception.type"] = SpanAttribute.string(String(describing: type(of: error)))
        addEvent(SpanEvent(name: "exception", at: instant(), attributes: attributes))
    }

    public func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        guard let recording, var span = recording.span.withLock({ $0.take() }) else { return }
        span.endNanoseconds = max(span.startNanoseconds, instant().nanosecondsSinceEpoch)
        recording.queue.add(span)
    }

    private func change(_ change: (inout FinishedSpan) -> Void) {
        recording?.span.withLock { span in
            guard span != nil else { return }
            change(&span!)
        }
    }
}

/// Everything that an exporter needs of a span.
struct FinishedSpan: Sendable {
    struct Link: Sendable {
        var context: TraceContext
        var attributes: SpanAttributes = [:]
    }

    /// Maximum number of events, and of links, of one span.
    static let mostParts = 128

    var name: String
    let kind: SpanKind
    let context: TraceContext
    /// The span that this one follows; nil: it is the first of its trace.
    let parent: UInt64?
    /// Whether the parent is a span of another process.
    let isParentRemote: Bool
    /// Since 1970.
    let startNanoseconds: UInt64
    var endNanoseconds: UInt64 = 0
    var attributes: SpanAttributes = [:]
    var events: [SpanEvent] = []
    var links: [Link]
    var status: SpanStatus?
    var droppedEvents = 0
    var droppedLinks = 0

    init(
        name: String, kind: SpanKind, context: TraceContext, parent: UInt64?, isParentRemote: Bool,
        startNanoseconds: UInt64, links: [Link] = []
    ) {
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.isParentRemote = isParentRemote
        self.startNanoseconds = startNanoseconds
        self.links = links
    }
}

extension Array {
    /// Appends the element while the array has room, otherwise counts it.
    fileprivate mutating func append(_ element: Element, orCount dropped: inout Int) {
        if count < FinishedSpan.mostParts { append(element) } else { dropped += 1 }
    }
}

/// Finished spans that wait for the exporter.
final class SpanQueue: Sendable {
    private struct State {
        var spans: [FinishedSpan] = []
        var dropped = 0
    }

    /// So many spans wake the exporter before its time.
    static let batch = 512

    private let limit: Int
    private let state = Mutex(State())
    let wakes: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation

    init(limit: Int) {
        self.limit = limit
        // One signal is enough, because the exporter then takes all that there is.
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Never waits. A span for which there is no room is dropped and counted.
    func add(_ span: FinishedSpan) {
        let count = state.withLock { state in
            guard state.spans.count < limit else {
                state.dropped += 1
                return 0
            }
            state.spans.append(span)
            return state.spans.count
        }
        if count == Self.batch { wake() }
    }

    func wake() { waker.yield() }

    /// The oldest spans, at most `most`.
    func take(_ most: Int) -> [FinishedSpan] {
        state.withLock { state in
            let taken = Array(state.spans.prefix(most))
            state.spans.removeFirst(taken.count)
            return taken
        }
    }

    /// Spans that were taken and not sent; they are taken first again.
    func putBack(_ spans: [FinishedSpan]) { state.withLock { $0.spans.insert(contentsOf: spans, at: 0) } }

    var count: Int { state.withLock { $0.spans.count } }
    /// Spans for which there was no room.
    var dropped: Int { state.withLock { $0.dropped } }
}
