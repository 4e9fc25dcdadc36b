import CoreMetrics
import Metrics
import ServiceSupport
import Testing

@Suite("Prometheus text")
struct PrometheusTests {
    @Test("counters, gauges and histograms render with their labels")
    func renders() {
        let registry = PrometheusRegistry()
        Counter(
            label: "beckon_pushes_total", dimensions: [("provider", "apn"), ("kind", "visible")], factory: registry
        )
        .increment(by: 3)
        Counter(
            label: "beckon_pushes_total", dimensions: [("provider", "apn"), ("kind", "visible")], factory: registry
        )
        .increment()
        Gauge(label: "beckon_in_flight", factory: registry).record(7)
        let timer = Timer(label: "beckon_latency_seconds", factory: registry)
        timer.recordMilliseconds(2)
        timer.recordSeconds(400)
        let text = registry.render()
        #expect(
            text.contains(
                "# TYPE beckon_pushes_total counter\nbeckon_pushes_total{provider=\"apn\",kind=\"visible\"} 4\n"))
        #expect(text.contains("# TYPE beckon_in_flight gauge\nbeckon_in_flight 7\n"))
        #expect(text.contains("beckon_latency_seconds_bucket{le=\"0.001\"} 0\n"))
        #expect(text.contains("beckon_latency_seconds_bucket{le=\"0.0025\"} 1\n"))
        #expect(text.contains("beckon_latency_seconds_bucket{le=\"300\"} 1\n"))
        #expect(text.contains("beckon_latency_seconds_bucket{le=\"+Inf\"} 2\n"))
        #expect(text.contains("beckon_latency_seconds_count 2\n"))
    }

    @Test("label values are escaped and names made valid")
    func escapes() {
        let registry = PrometheusRegistry()
        Counter(label: "beckon.bad-name", dimensions: [("why", "a\"b\\c\nd")], factory: registry).increment()
        #expect(registry.render().contains("beckon_bad_name{why=\"a\\\"b\\\\c\\nd\"} 1\n"))
    }

    @Test("label sets are bounded; the rest shares one")
    func bounded() {
        let registry = PrometheusRegistry()
        for index in 0..<(PrometheusRegistry.seriesPerName + 50) {
            Counter(label: "beckon_x_total", dimensions: [("id", "\(index)")], factory: registry).increment()
        }
        let lines = registry.render().split(separator: "\n").filter { $0.hasPrefix("beckon_x_total") }
        #expect(lines.count == PrometheusRegistry.seriesPerName + 1)
        #expect(lines.contains("beckon_x_total{id=\"other\"} 50"))
    }
}
