public import CoreMetrics
import Synchronization

/// Keeps the metrics of one process and renders them as Prometheus text (exposition format 0.0.4).
/// Counters count up; recorders and meters that do not aggregate are gauges; timers and aggregating recorders are
/// histograms, timers in seconds. A name has at most ``seriesPerName`` label sets. Further sets share one set with the
/// value `other`, so that no label can fill the memory.
public final class PrometheusRegistry: MetricsFactory {
    public static let seriesPerName = 500

    private struct State {
        var families: [String: Family] = [:]
    }

    private struct Family {
        let type: String
        var series: [String: any PrometheusSeries] = [:]
    }

    private let state = Mutex(State())

    public init() {}

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, type: "counter") { CounterSeries() }
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, type: "counter") { FloatingCounterSeries() }
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, type: "gauge") { GaugeSeries() }
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        if aggregate {
            return series(label, dimensions, type: "histogram") { HistogramSeries(scale: 1) }
        }
        return series(label, dimensions, type: "gauge") { GaugeSeries() }
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, type: "histogram") { HistogramSeries(scale: 1e-9) }
    }

    // A series stays when its handler is destroyed, because a counter that disappears looks like a restart.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    /// All series, sorted by name and labels.
    public func render() -> String {
        let families = state.withLock { $0.families.mapValues { ($0.type, $0.series) } }
        var text = ""
        for (name, (type, series)) in families.sorted(by: { $0.key < $1.key }) {
            text += "# TYPE \(name) \(type)\n"
            for (labels, handler) in series.sorted(by: { $0.key < $1.key }) {
                handler.render(name: name, labels: labels, into: &text)
            }
        }
        return text
    }

    private func series<Series: PrometheusSeries>(
        _ label: String, _ dimensions: [(String, String)], type: String, make: () -> Series
    ) -> Series {
        let name = Self.sanitised(label)
        return state.withLock { state in
            var family = state.families[name] ?? Family(type: type)
            var labels = Self.labels(dimensions)
            if family.series[labels] == nil, family.series.count >= Self.seriesPerName {
                labels = Self.labels(dimensions.map { ($0.0, "other") })
            }
            // A name with two types would make the text invalid, so the second type gets a handler that is not
            // rendered.
            if let known = family.series[labels] as? Series { return known }
            let fresh = make()
            if family.type == type {
                family.series[labels] = fresh
                state.families[name] = family
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

    private static func sanitised(_ name: String) -> String {
        String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":") ? $0 : "_" })
    }
}
