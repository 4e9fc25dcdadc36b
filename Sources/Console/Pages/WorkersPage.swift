import Wire

/// Which process serves which partition, and which partition nobody serves.
struct WorkersPage: Sendable {
    let scraper: MetricsScraper

    var routes: [ConsoleRoute] {
        [ConsoleRoute(path: "/workers", name: "Workers", get: { _ in .page(page) })]
    }

    private var page: Page {
        let ring = scraper.now
        let workers = Workers(ring)
        return Page(
            title: "Workers and partitions",
            still: tag("section") {
                tag("h1") { "Workers and partitions" }
                tag("p", ["class": "lead"]) {
                    "Each partition of the topic challenges needs one dispatcher and one ack tracker."
                }
            },
            live: tag("div", ["class": "stack"]) {
                tag("div", ["class": "columns"]) { workers.pools.map { pool($0) } }
                tag("section", ["class": "card", "aria-labelledby": "processes"]) {
                    tag("h2", ["id": "processes"]) { "Processes" }
                    if ring.targets.isEmpty {
                        tag("p") { "None is read. Set console.targets." }
                    } else {
                        processes(ring)
                    }
                }
            })
    }

    private func pool(_ pool: Workers.Pool) -> Escaped {
        let missing = pool.expected - pool.served
        return tag("section", ["aria-label": "Partitions of the pool: \(pool.name)"]) {
            tag("h2") { pool.name == "dispatcher" ? "Dispatchers" : "Ack trackers" }
            tag("p") {
                if missing > 0 {
                    badge(
                        .bad,
                        pool.orphans.isEmpty
                            ? Words.count(missing, "partition is", "partitions are") + " served by nobody"
                            : "nobody serves " + pool.orphans.map(String.init).joined(separator: ", "))
                } else {
                    badge(.good, "all \(Words.count(pool.expected)) partitions are served")
                }
            }
            if !pool.owners.isEmpty { partitions(pool) }
        }
    }

    private func partitions(_ pool: Workers.Pool) -> Escaped {
        table(
            caption: "Partitions", ["partition", "unread records", "dispatcher"],
            rows: (0..<Int(pool.expected)).map { number in
                [
                    Escaped(String(number)), Escaped(pool.lags[number].map { Words.count($0) } ?? "–"),
                    pool.owners[number].map { Escaped($0.map(TargetState.place).joined(separator: ", ")) }
                        ?? badge(.bad, "nobody"),
                ]
            })
    }

    private func processes(_ ring: MetricsRing) -> Escaped {
        let now = Timestamp.steadyMs()
        return table(
            caption: "Processes",
            ["role", "address", "state", "version", "partitions", "oldest unsent", "last commit", "memory"],
            rows: ring.targets.values.sorted { ($0.role, $0.url) < ($1.role, $1.url) }.map { target in
                func gauge(_ name: String) -> Double? { target.gauges[SeriesKey(name: name, labels: [:])] }
                func age(_ names: String...) -> Escaped {
                    Escaped(names.lazy.compactMap(gauge).first.map { $0 > 0 ? Words.seconds($0) : "none" } ?? "–")
                }
                let partitions = gauge("beckon_dispatcher_lanes") ?? gauge("beckon_tracker_partitions")
                return [
                    Escaped(target.role.isEmpty ? "unknown" : target.role), Escaped(TargetState.place(target.url)),
                    state(target, now),
                    Escaped(target.version), Escaped(partitions.map { Words.count($0) } ?? "–"),
                    age("beckon_dispatcher_oldest_unsent_seconds"),
                    age("beckon_dispatcher_commit_age_seconds", "beckon_tracker_commit_age_seconds"),
                    Escaped(gauge("process_resident_memory_bytes").map { "\(Int($0) >> 20) MB" } ?? "–"),
                ]
            })
    }

    private func state(_ target: TargetState, _ nowMs: Int64) -> Escaped {
        if let fault = target.fault {
            let since = target.answeredAtMs.map { ", last \(Words.distance(nowMs - $0))" } ?? ""
            return badge(.bad, fault + since)
        }
        return target.gauges[SeriesKey(name: "beckon_ready", labels: [:])] == 0
            ? badge(.bad, "not ready") : badge(.good, "ready")
    }
}
