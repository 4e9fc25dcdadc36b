import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import ServiceSupport

/// Hands each event of topic `events` to the webhooks that want it. A record is done when each of its events is
/// delivered, or stored.
///
/// A lane is the events of one subject for one webhook. They are delivered one after the other, and wait for no other
/// lane. An event that fails goes to the store. The later events of its lane follow there as long as the store has
/// older ones.
struct FreshDeliveries: Sendable {
    let relay: RelayParts

    /// What is to be done with a record: a delivery for each webhook that wants it; nil: the task was cancelled.
    func works(for record: ConsumedRecord) async -> [RecordWork]? {
        do throws(RecordFault) {
            guard let events = try await freshEvents(of: record) else { return nil }
            relay.metrics.record(events.isEmpty ? "unwanted" : "relayed")
            return events.map { event in
                RecordWork(order: [event.lane]) {
                    await LogContext.$current.withValue(LogContext(trace: event.delivery.traceparent)) {
                        await deliver(event)
                    }
                }
            }
        } catch {
            relay.metrics.record("refused")
            let letter = error.deadLetter
            return [
                RecordWork { [deadLetters = relay.deadLetters] in
                    await deadLetters.send(
                        record, reason: letter?.reason ?? "misplaced", detail: letter?.description ?? "")
                }
            ]
        }
    }

    /// An event for each webhook that wants it; nil: the task was cancelled.
    private func freshEvents(of record: ConsumedRecord) async throws(RecordFault) -> [FreshEvent]? {
        guard let relayed = try RelayedEvent(record, intake: relay.intake) else { return [] }
        guard var wanted = await wantedBy(relayed) else { return nil }
        if wanted.isEmpty, relayed.type == EventType.webhookTest.rawValue {
            // A customer creates a webhook and tests it at once: the webhook may be younger than what is known.
            relay.subscriptions.forget(relayed.service)
            guard let again = await wantedBy(relayed) else { return nil }
            wanted = again
        }
        guard !wanted.isEmpty else { return [] }
        let nowMs = relay.nowMs()
        let traceparent = record.headers.traceContext
        return wanted.map { route in
            FreshEvent(
                delivery: WebhookDelivery(
                    account: relayed.account, service: relayed.service, webhook: route.webhook.sid,
                    subject: relayed.event.subject, partition: record.topicPartition.partition,
                    eventID: relayed.event.id, eventType: relayed.type, event: record.value, traceparent: traceparent,
                    nowMs: nowMs),
                account: relayed.account, service: relayed.service)
        }
    }

    /// The webhooks that want an event; nil: the task was cancelled.
    private func wantedBy(_ relayed: RelayedEvent) async -> [WebhookRoute]? {
        await relay.insist { [relay] in
            try await relay.subscriptions.routes(account: relayed.account, service: relayed.service)
        }?.filter(relayed.isWanted)
    }

    /// Delivers an event, or stores it.
    /// - Returns: false when the task was cancelled: the event comes again.
    private func deliver(_ event: FreshEvent) async -> Bool {
        let webhook = event.delivery.webhook
        guard
            let found = await relay.insist({ [relay] in
                try await relay.subscriptions.route(webhook, account: event.account, service: event.service)
            })
        else { return false }
        // Deleted, or switched off by its customer, since it was read.
        guard let route = found, route.webhook.isEnabled else { return true }
        if relay.backlogs.has(webhook, in: event.delivery.partition) {
            guard
                let isBehind = await relay.insist({ [relay] in
                    try await relay.store.hasWaitingDeliveries(webhook: webhook, subject: event.delivery.subject)
                })
            else { return false }
            if isBehind { return await store(event, failure: nil) }
        }
        guard route.isServed else { return await store(event, failure: nil) }
        let endpoint = relay.sender.endpoint(of: webhook)
        guard await endpoint.admit() else {
            return Task.isCancelled ? false : await store(event, failure: nil)
        }
        let result = await relay.sender.send(event.delivery, to: route, isQuickRepeated: true)
        if endpoint.end(result) { relay.stored.endpointIsBack(webhook, partition: event.delivery.partition) }
        // Given up in the middle: the next owner sends it again, with the same id.
        guard !Task.isCancelled else { return false }
        switch result.disposition {
        case .delivered:
            guard relay.failing.contains(webhook) || route.health.failingSinceMs != nil else { return true }
            return await relay.noteSuccess(event)
        case .failed, .disable: return await store(event, failure: result)
        case .abort:
            guard
                await relay.insist({ [relay] in
                    try await relay.store.storeAborted(event.delivery, WebhookFailure(result), nowMs: relay.nowMs())
                }) != nil
            else { return false }
            relay.noteFailure(event)
            return true
        }
    }

    /// - Parameter failure: of the event, when it was tried.
    private func store(_ event: FreshEvent, failure: AttemptResult?) async -> Bool {
        relay.backlogs.write(event.delivery.webhook, in: event.delivery.partition)
        defer { relay.backlogs.written(event.delivery.webhook, in: event.delivery.partition) }
        let nowMs = relay.nowMs()
        var dueMs = nowMs
        if let failure {
            dueMs =
                RetrySchedule.next(
                    failures: 1, firstFailureMs: nowMs, nowMs: nowMs, retryAfter: failure.retryAfter,
                    random: Double.random(in: 0..<1)) ?? nowMs + 60_000
        }
        let due = dueMs
        guard
            await relay.insist({ [relay] in
                try await relay.store.storeDeliveries(
                    [event.delivery], failure: failure.map(WebhookFailure.init), dueMs: due, nowMs: nowMs)
            }) != nil
        else { return false }
        relay.metrics.stored(1)
        if failure != nil { relay.noteFailure(event) }
        relay.stored.wake()
        return true
    }
}

extension WebhookFailure {
    init(_ result: AttemptResult) {
        self.init(
            status: result.status, code: result.code, reason: result.reason,
            isDisabling: result.disposition == .disable, isOurs: result.isOurs,
            body: String(decoding: result.body, as: UTF8.self))
    }
}
