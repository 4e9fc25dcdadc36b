/// What is wrong now, worst first.
struct Alarm: Sendable, Hashable {
    let tone: Tone
    let text: String
    /// The page that shows more; nil: this one.
    let path: String?

    static func all(_ ring: MetricsRing) -> [Alarm] {
        var bad: [Alarm] = []
        var warnings: [Alarm] = []
        for target in ring.targets.values.sorted(by: { $0.url < $1.url }) {
            let name = target.role.isEmpty ? target.url : "\(target.role) at \(target.url)"
            if let fault = target.fault {
                bad.append(Alarm(tone: .bad, text: "\(name) \(fault)", path: "/workers"))
            } else if target.gauges[SeriesKey(name: "beckon_ready", labels: [:])] == 0 {
                bad.append(
                    Alarm(tone: .bad, text: "\(name) is not ready: its /readyz says why", path: "/workers"))
            }
        }
        let workers = Workers(ring)
        for pool in workers.pools where pool.served < pool.expected {
            bad.append(
                Alarm(
                    tone: .bad,
                    text:
                        "\(Words.count(pool.expected - pool.served, "partition has", "partitions have")) no \(pool.name)",
                    path: "/workers"))
        }
        for (_, labels, value) in ring.gauges("beckon_dispatcher_open_circuits") where value > 0 {
            bad.append(
                Alarm(
                    tone: .bad, text: "\(Provider.name(labels["provider"])) fails: its circuit breaker is open",
                    path: "/providers"))
        }
        for (_, labels, value) in ring.gauges("beckon_store_fault") where value > 0 {
            bad.append(Alarm(tone: .bad, text: "the store cannot write: \(labels["cause"] ?? "")", path: nil))
        }
        if let age = ring.largest("beckon_dispatcher_oldest_unsent_seconds"), age > 2 {
            bad.append(
                Alarm(tone: .bad, text: "a challenge has waited \(Words.seconds(age)) for its push", path: "/workers"))
        }
        if let age = ring.largest("beckon_outbox_oldest_dispatch_seconds"), age > 5 {
            bad.append(Alarm(tone: .bad, text: "a challenge has waited \(Words.seconds(age)) for Kafka", path: nil))
        }
        let unreadable = ring.total("beckon_dispatcher_unreadable_credentials")
        if unreadable > 0 {
            warnings.append(
                Alarm(
                    tone: .warning,
                    text: "\(Words.count(unreadable, "credential", "credentials")) cannot be opened with this key",
                    path: "/providers"))
        }
        if let skew = ring.gauges("beckon_dispatcher_clock_skew_seconds").map({ abs($0.value) }).max(), skew > 5 {
            warnings.append(
                Alarm(tone: .warning, text: "the clock of a dispatcher is off by \(Words.seconds(skew))", path: nil))
        }
        let dead = [
            "beckon_dead_letters_total", "beckon_dispatcher_dead_letters_total", "beckon_outbox_dead_letters_total",
            "beckon_webhook_dead_letters_total",
        ].reduce(0) { $0 + ring.sum($1) }
        if dead > 0 {
            warnings.append(
                Alarm(
                    tone: .warning,
                    text: "\(Words.count(dead, "record went", "records went")) to dead letters in this time", path: nil)
            )
        }
        if let late = ring.largest("beckon_webhook_overdue_seconds"), late > 60 {
            warnings.append(
                Alarm(tone: .warning, text: "an event for a webhook is \(Words.seconds(late)) overdue", path: nil))
        }
        return bad + warnings
    }
}
