import Testing

@testable import Console

@Suite("What the console reads from metrics")
struct MeasurementsTests {
    private func samples(_ text: String) -> [MetricSample] { MetricsText.samples(text) { _ in true } }

    @Test("the text format is read with its labels, escapes and special values; broken lines are left out")
    func text() {
        let read = samples(
            """
            # HELP a_total A counter.
            # TYPE a_total counter
            a_total 12
            b{x="1",y="a\\"b\\\\c\\nd, {e}"} 0.5
            c_bucket{le="+Inf"} +Inf
            broken{x="1
            alsobroken{x=1} 3
            noValue
            d NaN
            """)
        #expect(read.map(\.name) == ["a_total", "b", "c_bucket", "d"])
        #expect(read[1].labels == ["x": "1", "y": "a\"b\\c\nd, {e}"])
        #expect(read[0].value == 12 && read[2].value == .infinity && read[3].value.isNaN)
    }

    @Test("only the wanted families are taken apart")
    func wanted() {
        #expect(MetricsText.samples("a 1\nb{x=\"1\"} 2\n") { $0 == "b" }.map(\.name) == ["b"])
    }

    @Test("growth adds up over targets, a restart begins at 0, and the first look is no news")
    func growth() {
        var ring = MetricsRing()
        func look(_ first: Double, _ second: Double, _ atMs: Int64) {
            ring.answered("one", samples("a_total{k=\"x\"} \(first)"), atMs: atMs)
            ring.answered("two", samples("a_total{k=\"x\"} \(second)"), atMs: atMs)
            ring.tick(atMs: atMs)
        }
        look(100, 1000, 0)
        #expect(ring.sum("a_total") == 0)
        look(105, 1001, 2000)
        #expect(ring.sum("a_total") == 6)
        // The second was started anew and has counted 3 since.
        look(105, 3, 4000)
        #expect(ring.sum("a_total") == 9)
        #expect(ring.sum("a_total") { $0["k"] == "y" } == 0)
    }

    @Test("a series that appears later has grown by its whole value")
    func lateSeries() {
        var ring = MetricsRing()
        ring.answered("one", samples("a_total 1"), atMs: 0)
        ring.tick(atMs: 0)
        ring.answered("one", samples("a_total 1\nb_total 4"), atMs: 2000)
        ring.tick(atMs: 2000)
        #expect(ring.sum("b_total") == 4)
    }

    @Test("what is older than a quarter of an hour is forgotten")
    func reach() {
        var ring = MetricsRing()
        for (minute, value) in [(0, 0.0), (1, 10), (10, 20), (16, 50)] {
            ring.answered("one", samples("a_total \(value)"), atMs: Int64(minute) * 60_000)
            ring.tick(atMs: Int64(minute) * 60_000)
        }
        #expect(ring.sum("a_total") == 40, "since minute 1")
        let steps = ring.steps(15, of: "a_total", nowMs: 16 * 60_000) { _ in true }
        #expect(steps.reduce(0, +) == 40 && steps.last == 30 && steps[8] == 10, "\(steps)")
    }

    @Test("gauges are of the targets that answer, and a target that is gone is forgotten")
    func gauges() {
        var ring = MetricsRing()
        ring.answered("one", samples("beckon_build_info{role=\"dispatcher\",version=\"1\"} 1\ng 3"), atMs: 0)
        ring.answered("two", samples("g 4"), atMs: 0)
        #expect(ring.total("g") == 7 && ring.largest("g") == 4)
        #expect(ring.targets["one"]?.role == "dispatcher")
        ring.failed("two", "does not answer")
        #expect(ring.total("g") == 3)
        ring.keep(only: ["two"])
        #expect(ring.total("g") == 0 && ring.targets.count == 1)
    }

    @Test("a quantile lies within its bucket")
    func quantiles() {
        var ring = MetricsRing()
        func look(_ counts: [Double], _ atMs: Int64) {
            let bounds = ["0.1", "0.5", "1", "+Inf"]
            let lines = zip(bounds, counts).map { "h_bucket{le=\"\($0)\"} \($1)" }
            ring.answered("one", samples(lines.joined(separator: "\n")), atMs: atMs)
            ring.tick(atMs: atMs)
        }
        look([0, 0, 0, 0], 0)
        #expect(ring.quantile(0.5, of: "h") { _ in true } == nil)
        look([50, 90, 100, 101], 2000)
        let median = ring.quantile(0.5, of: "h") { _ in true } ?? 0
        #expect(median > 0.1 && median < 0.11)
        #expect(ring.quantile(1, of: "h") { _ in true } == 1, "above the last bound nothing is known")
    }

    @Test("series and targets are bounded")
    func bounds() {
        var ring = MetricsRing()
        let many = (0..<MetricsRing.mostSeries + 10).map { MetricSample(name: "s\($0)_total", labels: [:], value: 1) }
        ring.answered("one", many, atMs: 0)
        #expect(ring.ignoredSeries == 10)
        for number in 0..<MetricsRing.mostTargets + 5 { ring.answered("t\(number)", [], atMs: 0) }
        #expect(ring.targets.count == MetricsRing.mostTargets)
    }

    // MARK: - The funnel

    private func ring(_ before: String, _ after: String) -> MetricsRing {
        var ring = MetricsRing()
        ring.answered("one", samples(before), atMs: 0)
        ring.tick(atMs: 0)
        ring.answered("one", samples(after), atMs: 2000)
        ring.tick(atMs: 2000)
        return ring
    }

    @Test("the funnel says what was lost between two stages, and who can mend it")
    func funnel() {
        let funnel = Funnel(
            ring(
                "beckon_ready 1",
                """
                beckon_challenges_created_total{source="http"} 8
                beckon_challenges_created_total{source="kafka"} 2
                beckon_outbox_relayed_total{topic="challenges"} 9
                beckon_outbox_relayed_total{topic="events"} 99
                beckon_outbox_rows 1
                beckon_dispatcher_pushes_total{provider="apn",kind="visible",disposition="accepted"} 6
                beckon_dispatcher_pushes_total{provider="apn",kind="background",disposition="accepted"} 6
                beckon_dispatcher_pushes_total{provider="fcm",kind="visible",disposition="token-dead"} 2
                beckon_dispatcher_pushes_total{provider="fcm",kind="visible",disposition="dropped"} 1
                beckon_dispatcher_dropped_total{reason="expired"} 1
                beckon_tracker_receipts_matched_total 5
                beckon_challenge_outcomes_total{outcome="approved",responsible="person"} 3
                beckon_challenge_outcomes_total{outcome="expired",responsible="device"} 1
                beckon_challenge_outcomes_total{outcome="expired",responsible="person"} 2
                """))
        #expect(funnel.stages.map(\.name) == ["Created", "Published", "Sent", "Accepted", "Received", "Answered"])
        #expect(funnel.stages.map(\.count) == [10, 9, 8, 6, 5, 3])
        let losses = funnel.losses.map {
            $0.filter { $0.count > 0 }.map { "\($0.count) \($0.responsible?.rawValue ?? "")" }
        }
        #expect(losses == [["1.0 kafka"], ["1.0 beckon"], ["2.0 device"], ["1.0 device"], ["2.0 person"]])
        #expect(funnel.ends.map { "\($0.cause) \($0.count)" } == ["approved 3.0", "expired 2.0", "expired 1.0"])
    }

    @Test("what is wrong is named: a process, a partition, a provider, an age")
    func alarms() {
        let healthy = """
            beckon_ready 1
            beckon_dispatcher_lanes 12
            beckon_dispatcher_partitions_expected 12
            beckon_dispatcher_open_circuits{provider="apn"} 0
            beckon_dispatcher_oldest_unsent_seconds 0
            beckon_dispatcher_dead_letters_total{topic="challenges",reason="mac"} 0
            """
        #expect(Alarm.all(ring(healthy, healthy)) == [])
        let ill = """
            beckon_ready 0
            beckon_dispatcher_lanes 10
            beckon_dispatcher_partitions_expected 12
            beckon_dispatcher_open_circuits{provider="apn"} 1
            beckon_dispatcher_oldest_unsent_seconds 30
            beckon_dispatcher_dead_letters_total{topic="challenges",reason="mac"} 2
            """
        let texts = Alarm.all(ring(healthy, ill)).map(\.text)
        #expect(texts.count == 5)
        for word in ["not ready", "2 partitions have no dispatcher", "APNs fails", "30 s", "2 records"] {
            #expect(texts.contains { $0.contains(word) }, "\(word) in \(texts)")
        }
    }

    @Test("a partition without a dispatcher is named by its number")
    func orphans() {
        let text =
            "beckon_dispatcher_lanes 2\nbeckon_dispatcher_partitions_expected 3\n"
            + "beckon_dispatcher_lag_records{partition=\"0\"} 0\nbeckon_dispatcher_lag_records{partition=\"2\"} 7"
        let pool = Workers(ring(text, text)).pools.first
        #expect(pool?.orphans == [1])
        #expect(pool?.lags[2] == 7)
    }
}
