/// The way of challenges over the last quarter of an hour, and who is responsible for what is lost on it.
struct Funnel: Sendable, Hashable {
    /// Who can do something about a loss; the words of the metric label `responsible`.
    enum Responsible: String, Sendable, Hashable {
        case backend, beckon, kafka, provider, device, person
    }

    struct Stage: Sendable, Hashable {
        let name: String
        /// What is counted, for people who see it for the first time.
        let meaning: String
        let count: Double
        let one: String
        let many: String
    }

    /// What happened between a stage and the next.
    struct Loss: Sendable, Hashable {
        let cause: String
        let count: Double
        /// Nil: nothing is lost, it was not needed any more.
        let responsible: Responsible?
    }

    let stages: [Stage]
    /// Losses between stage *n* and *n* + 1.
    let losses: [[Loss]]
    /// How challenges ended.
    let ends: [Loss]

    init(_ ring: MetricsRing) {
        func pushes(_ disposition: String) -> Double {
            ring.sum("beckon_dispatcher_pushes_total") { $0["kind"] == "visible" && $0["disposition"] == disposition }
        }
        func dropped(_ reasons: String...) -> Double {
            ring.sum("beckon_dispatcher_dropped_total") { reasons.contains($0["reason"] ?? "") }
        }
        let sent = ["accepted", "rejected", "token-dead", "deferred", "credential-fault", "unknown"].reduce(0) {
            $0 + pushes($1)
        }
        let ended = ring.growth("beckon_challenge_outcomes_total")
        func end(_ outcome: String, by responsible: Responsible? = nil) -> Double {
            ended.filter {
                $0.labels["outcome"] == outcome
                    && (responsible == nil || $0.labels["responsible"] == responsible?.rawValue)
            }.reduce(0) { $0 + $1.value }
        }
        let received = ring.sum("beckon_tracker_receipts_matched_total")
        let answered = end("approved") + end("denied")
        stages = [
            Stage(
                name: "Created", meaning: "challenges that backends asked for",
                count: ring.sum("beckon_challenges_created_total"), one: "challenge", many: "challenges"),
            Stage(
                name: "Published", meaning: "records that Kafka confirmed, attempts included",
                count: ring.sum("beckon_outbox_relayed_total") { $0["topic"] == "challenges" }
                    + ring.sum("beckon_tracker_attempts_total"), one: "record", many: "records"),
            Stage(
                name: "Sent", meaning: "pushes to devices that a provider was asked to deliver", count: sent,
                one: "push", many: "pushes"),
            Stage(
                name: "Accepted", meaning: "pushes that the provider took", count: pushes("accepted"), one: "push",
                many: "pushes"),
            Stage(
                name: "Received", meaning: "devices that confirmed the challenge", count: received, one: "device",
                many: "devices"),
            Stage(
                name: "Answered", meaning: "challenges that a person approved or denied", count: answered,
                one: "challenge", many: "challenges"),
        ]
        let waiting = ring.total("beckon_outbox_rows")
        losses = [
            [
                Loss(cause: "waiting for Kafka", count: waiting, responsible: .kafka),
                Loss(
                    cause: "expired before Kafka took them", count: ring.sum("beckon_outbox_expired_total"),
                    responsible: .kafka),
            ],
            [
                Loss(cause: "expired before they were sent", count: dropped("expired"), responsible: .beckon),
                Loss(
                    cause: "device is gone or has no push channel", count: dropped("device-gone", "no-push-channel"),
                    responsible: .device),
                Loss(
                    cause: "not needed any more", count: dropped("already-done", "confirmed", "overtaken", "resolved"),
                    responsible: nil),
            ],
            [
                Loss(cause: "to be tried again", count: pushes("deferred"), responsible: .provider),
                Loss(cause: "refused", count: pushes("rejected"), responsible: .provider),
                Loss(cause: "no answer", count: pushes("unknown"), responsible: .provider),
                Loss(cause: "push token is dead", count: pushes("token-dead"), responsible: .device),
                Loss(cause: "credential is refused", count: pushes("credential-fault"), responsible: .backend),
            ],
            [
                Loss(
                    cause: "not confirmed by the device", count: max(pushes("accepted") - received, 0),
                    responsible: .device)
            ],
            [
                Loss(cause: "expired unanswered", count: end("expired", by: .person), responsible: .person),
                Loss(
                    cause: "canceled or superseded", count: end("canceled") + end("superseded"), responsible: .backend),
            ],
        ]
        ends =
            ended.filter { $0.value > 0 }.map {
                Loss(
                    cause: $0.labels["outcome"] ?? "", count: $0.value,
                    responsible: $0.labels["responsible"].flatMap { Responsible(rawValue: $0) })
            }.sorted { ($0.cause, $1.count) < ($1.cause, $0.count) }
            + [
                Loss(
                    cause: "undelivered (the backend was told)", count: ring.sum("beckon_tracker_escalations_total"),
                    responsible: nil)
            ].filter { $0.count > 0 }
    }
}
