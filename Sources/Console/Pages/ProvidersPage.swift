import Wire

/// How each push provider does: how fast it answers, what it answers, and whether Beckon still asks it.
struct ProvidersPage: Sendable {
    let scraper: MetricsScraper

    var routes: [ConsoleRoute] {
        [ConsoleRoute(path: "/providers", name: "Providers", get: { _ in .page(page) })]
    }

    private static let classes: [(word: String, meaning: String)] = [
        ("accepted", "taken for delivery"), ("deferred", "tried again later"), ("rejected", "refused for good"),
        ("token-dead", "the push token is dead"), ("credential-fault", "the credential is refused"),
        ("unknown", "no answer"), ("dropped", "not sent"),
    ]

    private var page: Page {
        let ring = scraper.now
        return Page(
            title: "Providers",
            still: tag("section") {
                tag("h1") { "Providers" }
                tag("p", ["class": "lead"]) { "The last 15 minutes, over all dispatchers." }
            },
            live: tag("div", ["class": "columns"]) {
                Provider.all.map { provider in card(ring, provider) }
                connections(ring)
            })
    }

    private func card(_ ring: MetricsRing, _ provider: String) -> Escaped {
        func isOurs(_ labels: [String: String]) -> Bool { labels["provider"] == provider }
        let open = ring.gauges("beckon_dispatcher_open_circuits").filter { isOurs($0.labels) }
        let limits = ring.gauges("beckon_dispatcher_in_flight_limit").filter { isOurs($0.labels) }.map(\.value)
        let pushes = ring.sum("beckon_dispatcher_pushes_total") { isOurs($0) && $0["disposition"] != "dropped" }
        let isOpen = open.contains { $0.value > 0 }
        return tag("section", ["aria-labelledby": provider]) {
            tag("h2", ["id": provider]) { Provider.name(provider) }
            tag("p") {
                if open.isEmpty {
                    badge(.quiet, "no dispatcher answers")
                } else if isOpen {
                    badge(.bad, "circuit open: Beckon waits before it asks again")
                } else {
                    badge(.good, "asked")
                }
            }
            facts([
                ("pushes", Escaped(Words.count(pushes))),
                ("per minute", Escaped(Words.count(pushes / minutes(ring)))),
                ("half answered within", quantile(ring, 0.5, isOurs)),
                ("95 % within", quantile(ring, 0.95, isOurs)), ("99 % within", quantile(ring, 0.99, isOurs)),
                ("limit in flight", Escaped(limits.min().map { Words.count($0) } ?? "–")),
            ])
            answers(ring, isOurs)
        }
    }

    /// The ring may be younger than its reach.
    private func minutes(_ ring: MetricsRing) -> Double {
        guard let since = ring.sinceMs else { return 1 }
        return max(Double(min(Timestamp.steadyMs() - since, MetricsRing.reach)) / 60_000, 1)
    }

    private func quantile(_ ring: MetricsRing, _ share: Double, _ fits: ([String: String]) -> Bool) -> Escaped {
        Escaped(
            ring.quantile(share, of: "beckon_dispatcher_push_seconds", where: fits).map { Words.seconds($0) } ?? "–")
    }

    private func answers(_ ring: MetricsRing, _ fits: ([String: String]) -> Bool) -> Escaped {
        func count(_ word: String, _ kind: String) -> Double {
            ring.sum("beckon_dispatcher_pushes_total") {
                fits($0) && $0["disposition"] == word && $0["kind"] == kind
            }
        }
        return table(
            caption: "Answers", ["answer", "visible", "background", "meaning"],
            rows: Self.classes.map { answer in
                [
                    Escaped(answer.word), Escaped(Words.count(count(answer.word, "visible"))),
                    Escaped(Words.count(count(answer.word, "background"))), Escaped(answer.meaning),
                ]
            })
    }

    private func connections(_ ring: MetricsRing) -> Escaped {
        tag("section", ["aria-labelledby": "connections"]) {
            tag("h2", ["id": "connections"]) { "Connections to all providers" }
            facts([
                ("open", Escaped(Words.count(ring.total("beckon_dispatcher_connections")))),
                ("opened", Escaped(Words.count(ring.sum("beckon_dispatcher_connections_opened_total")))),
                ("lost", Escaped(Words.count(ring.sum("beckon_dispatcher_connections_lost_total")))),
                ("could not open", Escaped(Words.count(ring.sum("beckon_dispatcher_connect_failures_total")))),
                ("GOAWAYs", Escaped(Words.count(ring.sum("beckon_dispatcher_goaways_total")))),
                ("sent again elsewhere", Escaped(Words.count(ring.sum("beckon_dispatcher_resends_total")))),
                ("no answer in time", Escaped(Words.count(ring.sum("beckon_dispatcher_push_timeouts_total")))),
                ("credentials opened", Escaped(Words.count(ring.total("beckon_dispatcher_credentials")))),
            ])
        }
    }
}
