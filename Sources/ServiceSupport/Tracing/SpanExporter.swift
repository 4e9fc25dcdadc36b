import AsyncHTTPClient
import Foundation
public import Logging
import NIOCore
import NIOHTTP1
import NIOSSL
public import ServiceLifecycle
import Synchronization
import Wire

/// Where spans go, and how many of them: the settings `tracing.…`.
public struct TracingConfiguration: Sendable {
    /// `http://collector:4318`. Spans are posted to `/v1/traces` below it.
    public var endpoint: String
    /// Share of new traces that are recorded, 0 to 1.
    public var ratio: Double
    /// Added to each request, for a collector that asks for credentials.
    public var headers: [String: String]
    /// PEM file of the only roots that are trusted; nil: the system's.
    public var caFile: String?

    public init(endpoint: String, ratio: Double, headers: [String: String] = [:], caFile: String? = nil) {
        self.endpoint = endpoint
        self.ratio = ratio
        self.headers = headers
        self.caFile = caFile
    }

    /// Nil: `tracing.endpoint` is not set, so there is no tracer.
    public init?(_ settings: Settings) throws(SettingsError) {
        guard let endpoint = try settings.optional(Settings.tracingEndpoint) else { return nil }
        self.init(
            endpoint: endpoint, ratio: try settings(Settings.tracingRatio),
            headers: try settings(Settings.tracingHeaders), caFile: try settings.optional(Settings.tracingCAFile))
        if let caFile, !FileManager.default.isReadableFile(atPath: caFile) {
            throw SettingsError("tracing.caFile: \(caFile) cannot be read; expected a PEM file")
        }
    }
}

/// Sends finished spans to a collector: OTLP over HTTP, in JSON. It takes a batch when 512 spans wait, or once a second.
/// While a collector does not answer, spans wait in the tracer's queue; when the queue is full, spans are dropped and
/// counted. Nothing else waits for the collector.
public final class SpanExporter: Service {
    struct Counts: Sendable, Equatable {
        var exported = 0
        var refused = 0
        var unreachable = 0
        var stopped = 0
    }

    /// The time limits. Tests shorten them.
    struct Bounds: Sendable {
        var interval: Duration = .seconds(1)
        /// Of one request.
        var request: Duration = .seconds(10)
        /// Of all tries with one batch. After it the batch is dropped.
        var batch: Duration = .seconds(60)
        /// Of the last batches, at the end of the process.
        var flush: Duration = .seconds(3)
        var firstWait: Duration = .seconds(1)
    }

    /// Longest answer that is read, in bytes.
    private static let mostAnswer = 4 << 20

    private let tracer: ServiceTracer
    private let url: String
    private let headers: HTTPHeaders
    private let resource: OTLPRequest.Resource
    private let bounds: Bounds
    private let http: HTTPClient.Configuration
    private let log: LimitedLog
    private let state = Mutex(Counts())

    /// - Parameters:
    ///   - role: the attribute `service.name` is `beckon-` and this name.
    ///   - instance: a name that no other process has.
    public convenience init(
        _ configuration: TracingConfiguration, tracer: ServiceTracer, role: String, version: String, instance: String,
        logger: Logger
    ) {
        self.init(
            configuration, tracer: tracer,
            resource: OTLPRequest.Resource(service: "beckon-\(role)", version: version, instance: instance),
            bounds: Bounds(), logger: logger)
    }

    init(
        _ configuration: TracingConfiguration, tracer: ServiceTracer, resource: OTLPRequest.Resource, bounds: Bounds,
        logger: Logger
    ) {
        self.tracer = tracer
        self.resource = resource
        self.bounds = bounds
        let base =
            configuration.endpoint.hasSuffix("/") ? String(configuration.endpoint.dropLast()) : configuration.endpoint
        url = base + "/v1/traces"
        var headers = HTTPHeaders([("content-type", "application/json"), ("user-agent", "beckon/\(resource.version)")])
        for (name, value) in configuration.headers.sorted(by: { $0.key < $1.key }) {
            headers.add(name: name, value: value)
        }
        self.headers = headers
        log = LimitedLog(logger, every: .seconds(60))
        var http = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(3)),
            connectionPool: .init(idleTimeout: .seconds(30), concurrentHTTP1ConnectionsPerHostSoftLimit: 1))
        // The client would otherwise make spans of the requests that carry spans.
        http.tracing.tracer = nil
        http.httpVersion = .http1Only
        if let file = configuration.caFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .file(file)
            http.tlsConfiguration = tls
        }
        self.http = http
    }

    var counts: Counts { state.withLock { $0 } }

    /// Shows the counters at `/metrics`.
    public func observe(in registry: PrometheusRegistry) {
        registry.observe(TracingMetricName.exported.family) { [self] in Double(counts.exported) }
        func dropped(_ reason: TracingMetricName.Drop, _ read: @escaping @Sendable () -> Int) {
            registry.observe(TracingMetricName.dropped.family, [("reason", reason.rawValue)]) { Double(read()) }
        }
        dropped(.queue) { [tracer] in tracer.queue.dropped }
        dropped(.refused) { [self] in counts.refused }
        dropped(.unreachable) { [self] in counts.unreachable }
        dropped(.stopped) { [self] in counts.stopped }
    }

    /// Exports until it is stopped. Then it sends what is left, for at most ``Bounds/flush``, and counts the rest as
    /// dropped. A cancellation leaves no time for that.
    public func run() async {
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: http)
        await cancelWhenGracefulShutdown { await self.exportUntilCancelled(client) }
        await flush(client)
        do { try await client.shutdown() } catch {
            log.warning("the client of the collector was not closed", metadata: ["error": "\(error)"])
        }
    }

    private func exportUntilCancelled(_ client: HTTPClient) async {
        await withDiscardingTaskGroup { group in
            group.addTask { [tracer, bounds] in
                while (try? await Task.sleep(for: bounds.interval)) != nil { tracer.queue.wake() }
            }
            for await _ in tracer.queue.wakes {
                while !Task.isCancelled {
                    let batch = tracer.queue.take(SpanQueue.batch)
                    guard !batch.isEmpty else { break }
                    await export(batch, by: client, until: .now + bounds.batch)
                }
                if Task.isCancelled { break }
            }
            group.cancelAll()
        }
    }

    private func flush(_ client: HTTPClient) async {
        let end = ContinuousClock.now + bounds.flush
        while true {
            let batch = tracer.queue.take(SpanQueue.batch)
            guard !batch.isEmpty else { return }
            guard !Task.isCancelled, ContinuousClock.now < end else {
                state.withLock { $0.stopped += batch.count }
                continue
            }
            await export(batch, by: client, until: end)
        }
    }

    // MARK: - One batch

    private enum Verdict {
        case done(refused: Int)
        case refused(String)
        case retry(String, after: Duration?)
    }

    private func export(_ batch: [FinishedSpan], by client: HTTPClient, until end: ContinuousClock.Instant) async {
        let body = OTLPRequest.json(batch, of: resource)
        var backoff = Backoff(first: bounds.firstWait, most: .seconds(16))
        while true {
            switch await post(body, by: client, until: end) {
            case .done(let refused):
                return state.withLock { counts in
                    counts.exported += batch.count - refused
                    counts.refused += refused
                }
            case .refused(let reason):
                log.warning(
                    "the collector refuses spans; they are dropped",
                    metadata: ["spans": "\(batch.count)", "reason": "\(reason)"])
                return state.withLock { $0.refused += batch.count }
            case .retry(let reason, let asked):
                let wait = max(asked ?? .zero, backoff.failed())
                if !Task.isCancelled, ContinuousClock.now + wait < end {
                    try? await Task.sleep(for: wait)
                    guard Task.isCancelled else { continue }
                }
                // The process stops: the last tries have their own deadline.
                guard !Task.isCancelled else { return tracer.queue.putBack(batch) }
                log.warning(
                    "the collector cannot be reached; spans are dropped",
                    metadata: ["spans": "\(batch.count)", "reason": "\(reason)"])
                return state.withLock { $0.unreachable += batch.count }
            }
        }
    }

    private func post(_ body: [UInt8], by client: HTTPClient, until end: ContinuousClock.Instant) async -> Verdict {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers = headers
        request.body = .bytes(body)
        let left = min(bounds.request, max(.milliseconds(1), end - .now))
        do {
            let answer = try await client.execute(request, timeout: .milliseconds(left.wholeMilliseconds))
            let status = answer.status.code
            let content = try await answer.body.collect(upTo: Self.mostAnswer)
            switch status {
            case 200..<300: return .done(refused: refused(in: content))
            case 429, 502, 503, 504:
                let wait = answer.headers.first(name: "retry-after").flatMap {
                    RetryAfter.milliseconds($0.utf8, nowMs: Timestamp.nowMs(), most: .seconds(3600))
                }
                return .retry("status \(status)", after: wait.map { .milliseconds($0) })
            default: return .refused("status \(status)")
            }
        } catch is NIOTooManyBytesError {
            // The collector has the request.
            return .done(refused: 0)
        } catch {
            return .retry(String(describing: error), after: nil)
        }
    }

    /// The number of spans that the collector did not take, of an answer with `partialSuccess`. Such a request is not
    /// repeated.
    private func refused(in content: ByteBuffer) -> Int {
        guard let json = try? JSONParser.parse(Array(content.readableBytesView), .reply),
            let partial = json["partialSuccess"], let rejected = partial["rejectedSpans"]
        else { return 0 }
        let count = rejected.stringValue.flatMap { Int($0) } ?? rejected.integerValue.map { Int($0) } ?? 0
        guard count > 0 else { return 0 }
        log.warning(
            "the collector has refused spans of a request",
            metadata: [
                "spans": "\(count)", "reason": "\(String((partial["errorMessage"]?.stringValue ?? "").prefix(200)))",
            ])
        return count
    }
}

/// The counters of the exporter.
public enum TracingMetricName: String, MetricNames {
    case exported = "beckon_trace_spans_exported_total"
    case dropped = "beckon_trace_spans_dropped_total"

    enum Drop: String, CaseIterable, Sendable { case queue, refused, unreachable, stopped }

    public var family: MetricFamily {
        switch self {
        case .exported: .counter(rawValue, "Spans that the collector has accepted.")
        case .dropped:
            .counter(
                rawValue,
                "Spans that were not exported: the queue was full (queue), the collector refused them (refused) or could "
                    + "not be reached (unreachable), or the process ended first (stopped).",
                [.init("reason", Drop.allCases.map(\.rawValue))])
        }
    }
}
