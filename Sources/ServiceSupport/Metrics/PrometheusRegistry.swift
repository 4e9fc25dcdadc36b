public import CoreMetrics
import Synchronization

/// Keeps the metrics of one process and renders them as Prometheus text (exposition format 0.0.4).
/// Counters count up; recorders and meters that do not aggregate are gauges; timers and aggregating recorders are
/// histograms, timers in seconds. A name has at most ``seriesPerName`` label sets. Further sets share one set with the
/// value `other`, so that no label can fill the memory.
public final class PrometheusRegistry: MetricsFactory {
    public static let seriesPerName = 500

    private struct Family {
        let type: String
        var series: [String: any PrometheusSeries] = [:]
    }

    private let described: [String: MetricFamily]
    private let families = Mutex<[String: Family]>([:])

    /// - Parameter described: the families of the process. Their counters and histograms get a series at 0 for each
    ///   known label set. In debug builds, a metric with other labels than its description traps.
    public init(_ described: [MetricFamily] = []) {
        self.described = Dictionary(described.map { ($0.name, $0) }) { first, _ in first }
        for family in described {
            for labels in family.knownLabelSets {
                switch family.kind {
                case .counter: _ = makeCounter(label: family.name, dimensions: labels)
                case .histogram: _ = makeTimer(label: family.name, dimensions: labels)
                case .gauge, .age: break
                }
            }
        }
    }

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, type: "counter") { _ in CounterSeries() }
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, type: "counter") { _ in FloatingCounterSeries() }
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, type: "gauge") { GaugeSeries(isAge: $0?.kind == .age) }
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        if aggregate { return histogram(label, dimensions, scale: 1) }
        return series(label, dimensions, type: "gauge") { GaugeSeries(isAge: $0?.kind == .age) }
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        histogram(label, dimensions, scale: 1e-9)
    }

    private func histogram(_ label: String, _ dimensions: [(String, String)], scale: Double) -> HistogramSeries {
        series(label, dimensions, type: "histogram") {
            HistogramSeries(scale: scale, bounds: $0?.bounds ?? MetricFamily.standardBounds)
        }
    }

    /// Adds a series whose value is read whenever the text is rendered.
    /// - Parameter read: returns nil when there is no value. It must not block.
    public func observe(
        _ family: MetricFamily, _ dimensions: [(String, String)] = [], read: @escaping @Sendable () -> Double?
    ) {
        _ = series(family.name, dimensions, type: family.kind.word) { _ in ObservedSeries(read: read) }
    }

    // A series stays when its handler is destroyed, because a counter that disappears looks like a restart.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    /// All series, sorted by name and labels.
    public func render() -> String {
        let families = families.withLock { $0 }
        var text = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            var samples = ""
            for (labels, handler) in family.series.sorted(by: { $0.key < $1.key }) {
                handler.render(name: name, labels: labels, into: &samples)
            }
            guard !samples.isEmpty else { continue }
            if let help = described[name]?.help { text += "# HELP \(name) \(Self.escapedHelp(help))\n" }
            text += "# TYPE \(name) \(family.type)\n" + samples
        }
        return text
    }

    private func series<Series: PrometheusSeries>(
        _ label: String, _ dimensions: [(String, String)], type: String, make: (MetricFamily?) -> Series
    ) -> Series {
        let name = Self.sanitised(label)
        let description = described[name]
        assert(
            description.map { $0.kind.word == type && $0.labels.map(\.name) == dimensions.map(\.0) } ?? true,
            "\(name) is described as \(description!.kind) with the labels \(description!.labels.map(\.name)); "
                + "found \(type) with \(dimensions.map(\.0))")
        return families.withLock { families in
            var family = families[name] ?? Family(type: type)
            var labels = Self.labels(dimensions)
            if family.series[labels] == nil, family.series.count >= Self.seriesPerName {
                labels = Self.labels(dimensions.map { ($0.0, "other") })
            }
            // A name with two types would make the text invalid, so the second type gets a handler that is not
            // rendered.
            if let known = family.series[labels] as? Series { return known }
            let fresh = make(description)
            if family.type == type {
                family.series[labels] = fresh
                families[name] = family
            }
            return fresh
        }
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { name, value in
            let escaped = value.reduce(into: "") { text, character in
                switch character {
                case "\\": text += "\\\\"
                case "\"": text += "\\\""
                case "\n": text += "\\n"
                default: text.append(character)
                }
            }
            return "\(sanitised(name))=\"\(escaped)\""
        }.joined(separator: ",")
    }

    private static func escapedHelp(_ text: String) -> String {
        text.reduce(into: "") { $0 += $1 == "\\" ? "\\\\" : $1 == "\n" ? "\\n" : String($1) }
    }

    private static func sanitised(_ name: String) -> String {
        String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":") ? $0 : "_" })
    }
}
