import Wire

/// Is it working now, and who can mend what is lost?
struct OverviewPage: Sendable {
    let scraper: MetricsScraper
    let isDevelopment: Bool

    var routes: [ConsoleRoute] {
        [ConsoleRoute(path: ConsoleRoute.home, name: "Overview", get: { _ in .page(page) })]
    }

    private var page: Page {
        let ring = scraper.now
        return Page(
            title: "Overview",
            still: tag("section") {
                tag("h1") { "Overview" }
                if isDevelopment { welcome }
            }, live: live(ring, Funnel(ring), Alarm.all(ring)))
    }

    private var welcome: Escaped {
        tag("p", ["class": "welcome"]) {
            "All of Beckon runs in this process. "
            tag("a", ["class": "button main", "href": "/phones"]) { "Make a phone ring" }
        }
    }

    private func live(_ ring: MetricsRing, _ funnel: Funnel, _ alarms: [Alarm]) -> Escaped {
        tag("div", ["class": "columns"]) {
            tag("section", ["aria-labelledby": "state"]) {
                tag("h2", ["id": "state"]) { "Now" }
                if ring.targets.isEmpty {
                    tag("p") { badge(.warning, "No metrics are read. Set console.targets.") }
                } else if alarms.isEmpty {
                    tag("p") { badge(.good, "Everything works") }
                } else {
                    tag("ul", ["class": "alarms"]) {
                        alarms.prefix(20).map { alarm in
                            tag("li") {
                                badge(alarm.tone, alarm.text)
                                if let path = alarm.path { tag("a", ["href": path]) { "Show" } }
                            }
                        }
                    }
                }
                now(ring)
                tag("h2") { "How challenges ended" }
                ends(funnel)
            }
            tag("section", ["aria-labelledby": "funnel"]) {
                tag("h2", ["id": "funnel"]) { "The way of challenges, last 15 minutes" }
                stages(funnel)
            }
        }
    }

    private func now(_ ring: MetricsRing) -> Escaped {
        facts([
            (
                "created per minute",
                tag("span") {
                    Words.count(
                        ring.steps(15, of: "beckon_challenges_created_total", nowMs: now) { _ in true }.last ?? 0)
                }
            ),
            ("challenges held by trackers", tag("span") { Words.count(ring.total("beckon_tracker_held")) }),
            ("pushes under way", tag("span") { Words.count(ring.total("beckon_dispatcher_in_flight")) }),
            ("oldest unsent challenge", age(ring, "beckon_dispatcher_oldest_unsent_seconds")),
            ("rows waiting for Kafka", tag("span") { Words.count(ring.total("beckon_outbox_rows")) }),
            (
                "processes",
                tag("span") {
                    "\(ring.targets.values.filter { $0.fault == nil }.count) of \(ring.targets.count) answer"
                }
            ),
        ]) + chart(ring)
    }

    private var now: Int64 { Timestamp.steadyMs() }

    private func age(_ ring: MetricsRing, _ name: String) -> Escaped {
        tag("span") { ring.largest(name).map { $0 > 0 ? Words.seconds($0) : "none" } ?? "unknown" }
    }

    /// Created challenges by minute.
    private func chart(_ ring: MetricsRing) -> Escaped {
        let steps = ring.steps(15, of: "beckon_challenges_created_total", nowMs: now) { _ in true }
        let top = max(steps.max() ?? 0, 1)
        let total = steps.reduce(0, +)
        return tag("figure") {
            tag("figcaption") { "Challenges created, by minute" }
            tag(
                "svg",
                [
                    "class": "chart", "viewBox": "0 0 150 40", "preserveAspectRatio": "none", "role": "img",
                    "aria-label":
                        "\(Words.count(total, "challenge", "challenges")) in 15 minutes, at most \(Words.count(top)) in one",
                ]
            ) {
                steps.enumerated().map { index, value in
                    let height = value > 0 ? max(38 * value / top, 2) : 0.5
                    return shape(
                        "rect",
                        [
                            "x": "\(index * 10 + 1)", "y": "\(40 - height)", "width": "8", "height": "\(height)",
                            "fill": "currentColor",
                        ])
                }
            }
        }
    }

    private func ends(_ funnel: Funnel) -> Escaped {
        funnel.ends.isEmpty
            ? tag("p", ["class": "hint"]) { "None ended in this time." }
            : table(
                caption: "How challenges ended", ["outcome", "challenges", "decided by"],
                rows: funnel.ends.map { end in
                    [Escaped(end.cause), Escaped(Words.count(end.count)), Escaped(end.responsible?.rawValue ?? "–")]
                })
    }

    private func stages(_ funnel: Funnel) -> Escaped {
        let top = max(funnel.stages.map(\.count).max() ?? 0, 1)
        return tag("ol", ["class": "funnel"]) {
            funnel.stages.enumerated().map { index, stage in
                tag("li") {
                    tag("div", ["class": "stage"]) {
                        tag("strong") { stage.name }
                        tag("span", ["class": "count"]) { Words.count(stage.count, stage.one, stage.many) }
                        tag("svg", ["class": "bar", "width": "100%", "height": "12", "aria-hidden": "true"]) {
                            shape("rect", ["class": "track", "width": "100%", "height": "12", "rx": "3"])
                            shape(
                                "rect",
                                [
                                    "class": "value", "width": "\((1000 * stage.count / top).rounded() / 10)%",
                                    "height": "12", "rx": "3",
                                ])
                        }
                        tag("span", ["class": "hint"]) { stage.meaning }
                    }
                    if index < funnel.losses.count { losses(funnel.losses[index].filter { $0.count >= 1 }) }
                }
            }
        }
    }

    private func losses(_ losses: [Funnel.Loss]) -> Escaped {
        losses.isEmpty
            ? .nothing
            : tag("ul", ["class": "losses"]) {
                losses.map { loss in
                    tag("li") {
                        tag("span", ["class": "count"]) { "−" + Words.count(loss.count) }
                        " \(loss.cause) "
                        if let who = loss.responsible {
                            badge(who == .person || who == .device ? .quiet : .warning, "responsible: \(who.rawValue)")
                        }
                    }
                }
            }
    }
}
