import CoreMetrics
import Metrics
import ServiceSupport
import Synchronization
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

    @Test("a described family has HELP, its kind and a series at 0 for each known label set")
    func described() {
        let registry = PrometheusRegistry([
            .counter("beckon_x_total", "Things, \\ and\nlines.", [.init("a", ["1", "2"]), .init("b", ["3"])]),
            .counter("beckon_open_total", "Things.", [.init("a")]),
            .seconds("beckon_y_seconds", "Durations.", bounds: [0.5, 2]),
            .gauge("beckon_z", "A gauge that nobody has set."),
        ])
        Timer(label: "beckon_y_seconds", factory: registry).recordSeconds(1)
        #expect(
            registry.render() == """
                # HELP beckon_x_total Things, \\\\ and\\nlines.
                # TYPE beckon_x_total counter
                beckon_x_total{a="1",b="3"} 0
                beckon_x_total{a="2",b="3"} 0
                # HELP beckon_y_seconds Durations.
                # TYPE beckon_y_seconds histogram
                beckon_y_seconds_bucket{le="0.5"} 0
                beckon_y_seconds_bucket{le="2"} 1
                beckon_y_seconds_bucket{le="+Inf"} 1
                beckon_y_seconds_sum 1
                beckon_y_seconds_count 1

                """)
    }

    @Test("an age grows between two records, and 0 says that nothing waits")
    func ages() async throws {
        let registry = PrometheusRegistry([.age("beckon_age_seconds", "An age."), .gauge("beckon_plain", "Plain.")])
        let (age, plain) = (
            Gauge(label: "beckon_age_seconds", factory: registry), Gauge(label: "beckon_plain", factory: registry)
        )
        func shown(_ name: String) throws -> Double {
            let line = try #require(registry.render().split(separator: "\n").first { $0.hasPrefix(name + " ") })
            return try #require(Double(line.dropFirst(name.count + 1)))
        }
        age.record(20.0)
        plain.record(20.0)
        let first = try shown("beckon_age_seconds")
        #expect(first >= 20)
        while try shown("beckon_age_seconds") <= first { try await Task.sleep(for: .milliseconds(1)) }
        #expect(try shown("beckon_plain") == 20)
        age.record(0)
        #expect(try shown("beckon_age_seconds") == 0)
    }

    @Test("an observed series is read at each scrape, and left out while it has no value")
    func observed() {
        let reads = Atomic(0)
        let registry = PrometheusRegistry([.counter("beckon_reads_total", "Reads.")])
        registry.observe(.counter("beckon_reads_total", "Reads.")) {
            Double(reads.add(1, ordering: .relaxed).newValue)
        }
        registry.observe(.gauge("beckon_none", "None.")) { nil }
        _ = registry.render()
        #expect(registry.render().contains("beckon_reads_total 2\n"))
        #expect(!registry.render().contains("beckon_none "))
    }
}
