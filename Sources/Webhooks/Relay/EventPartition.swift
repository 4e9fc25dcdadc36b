import ChallengeModel
import Challenges
import DequeModule
import KafkaClient
import KafkaGroup
import Logging
import Synchronization
import Wire

/// One partition of `events` while it is ours: reads records, hands each event to the webhooks that want it, and knows which records
/// are done. A record is done when each of its events is delivered, or stored.
///
/// A lane is the events of one subject for one webhook. Each lane with events has one task, which takes them one after the other. A
/// lane's first failure moves it with everything behind it to the store; its later events follow there as long as the store has older
/// ones.
final class EventPartition: Sendable {
    let topicPartition: TopicPartition
    private let reader: PartitionReader
    private let relay: RelayParts
    private let state = Mutex(State())
    private let stopped = Latch()
    private let abandoned = Latch()
    private let drained = Latch()

    private struct State {
        var ledger = OffsetLedger(start: 0)
        var isReading = true
        var hasTaken = false
        var committed: Int64 = 0
        /// Events of a record that are not done.
        var open: [Int64: Int] = [:]
        /// Lanes with events; each has a task. The first event of a lane is the one that its task works on.
        var lanes: [LaneKey: Deque<FreshEvent>] = [:]
        var held = 0
    }

    init(reader: PartitionReader, relay: RelayParts) {
        self.reader = reader
        self.relay = relay
        topicPartition = reader.topicPartition
    }

    /// Everything below this offset is done; nil: nothing was read.
    var done: Int64? { state.withLock { $0.hasTaken ? $0.ledger.committable : nil } }

    /// The offset to commit, when it has moved since ``committed(_:)``.
    var committable: Int64? {
        state.withLock { state in
            guard state.hasTaken, state.ledger.committable > state.committed else { return nil }
            return state.ledger.committable
        }
    }

    func committed(_ offset: Int64) { state.withLock { $0.committed = max($0.committed, offset) } }

    /// Reads and delivers until ``stop()``, then waits for what is under way, or for ``abandon()``.
    func run() async {
        // Bounded by the record slots: a lane exists only for a record that holds one.
        let (lanes, feed) = AsyncStream.makeStream(of: LaneKey.self)
        await withDiscardingTaskGroup { group in
            group.addTask { await self.read(into: feed) }
            for await lane in lanes { group.addTask { await self.work(on: lane) } }
            await withTaskGroup(of: Void.self) { ends in
                ends.addTask { await self.drained.wait() }
                ends.addTask { await self.abandoned.wait() }
                await ends.next()
                ends.cancelAll()
            }
            group.cancelAll()
        }
        drained.open()
        let left = state.withLock { state in
            defer { state.held = 0 }
            return state.held
        }
        for _ in 0..<left { relay.slots.give() }
    }

    /// Stops reading, and waits at most this long for what is under way.
    func drain(atMost deadline: Duration) async {
        stopped.open()
        _ = await drained.wait(atMost: deadline)
    }

    /// Gives up what is under way; nothing becomes committable after this.
    func abandon() {
        stopped.open()
        abandoned.open()
    }

    // MARK: Reading

    private func read(into feed: AsyncStream<LaneKey>.Continuation) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.stopped.wait() }
            group.addTask {
                while let items = await self.reader.next(max: 64) {
                    for case .record(let record) in items {
                        guard await self.take(record, into: feed) else { return }
                    }
                }
            }
            await group.next()
            group.cancelAll()
        }
        relay.holds.end(topicPartition)
        feed.finish()
        let isEmpty = state.withLock { state in
            state.isReading = false
            return state.ledger.inFlight == 0
        }
        if isEmpty { drained.open() }
    }

    /// - Returns: false when the task was cancelled.
    private func take(_ record: ConsumedRecord, into feed: AsyncStream<LaneKey>.Continuation) async -> Bool {
        while relay.holds.mustWait(before: record) {
            guard (try? await Task.sleep(for: .milliseconds(200))) != nil else { return false }
        }
        guard await relay.slots.take() else { return false }
        let events: [FreshEvent]
        do throws(RecordFault) {
            guard let fresh = try await freshEvents(of: record) else {
                relay.slots.give()
                return false
            }
            events = fresh
            relay.metrics.record(fresh.isEmpty ? "unwanted" : "relayed")
        } catch {
            relay.metrics.record("refused")
            let letter = error.deadLetter
            guard
                await relay.deadLetters.send(
                    record, reason: letter?.reason ?? "misplaced", detail: letter?.description ?? "")
            else {
                relay.slots.give()
                return false
            }
            events = []
        }
        let new = state.withLock { state -> [LaneKey] in
            state.ledger.take(record.offset)
            state.hasTaken = true
            guard !events.isEmpty else {
                state.ledger.complete(record.offset)
                return []
            }
            state.held += 1
            state.open[record.offset] = events.count
            var new: [LaneKey] = []
            for event in events {
                let key = LaneKey(webhook: event.delivery.webhook, subject: event.delivery.subject)
                if state.lanes[key] == nil { new.append(key) }
                state.lanes[key, default: []].append(event)
            }
            return new
        }
        if events.isEmpty { relay.slots.give() }
        for key in new { feed.yield(key) }
        return true
    }

    /// An event for each webhook that wants it; nil: the task was cancelled.
    private func freshEvents(of record: ConsumedRecord) async throws(RecordFault) -> [FreshEvent]? {
        guard let relayed = try RelayedEvent(record, intake: relay.intake) else { return [] }
        guard
            let routes = await relay.insist({ [relay] in
                try await relay.subscriptions.routes(account: relayed.account, service: relayed.service)
            })
        else { return nil }
        let wanted = routes.filter(relayed.isWanted)
        guard !wanted.isEmpty else { return [] }
        let nowMs = relay.nowMs()
        let traceparent = record.headers.text(of: RecordHeaderName.traceparent)
        return wanted.map { route in
            FreshEvent(
                offset: record.offset,
                delivery: WebhookDelivery(
                    account: relayed.account, service: relayed.service, webhook: route.webhook.sid,
                    subject: relayed.event.subject, partition: topicPartition.partition, eventID: relayed.event.id,
                    eventType: relayed.type, event: record.value, traceparent: traceparent, nowMs: nowMs),
                account: relayed.account, service: relayed.service)
        }
    }

    // MARK: Lanes

    private func work(on key: LaneKey) async {
        while let event = next(of: key) {
            guard !abandoned.isOpen, await process(event, of: key) else { return }
        }
    }

    /// The first event of the lane. Without one the lane ends, in the same step: a later event gets a task of its own.
    private func next(of key: LaneKey) -> FreshEvent? {
        state.withLock { state in
            if let event = state.lanes[key]?.first { return event }
            state.lanes[key] = nil
            return nil
        }
    }

    /// - Returns: false when the task was cancelled: the events come again.
    private func process(_ event: FreshEvent, of key: LaneKey) async -> Bool {
        let webhook = event.delivery.webhook
        guard
            let found = await relay.insist({ [relay] in
                try await relay.subscriptions.route(webhook, account: event.account, service: event.service)
            })
        else { return false }
        guard let route = found, route.webhook.isEnabled else {
            // Deleted, or switched off by its customer, since it was read.
            finish(1, of: key)
            return true
        }
        if relay.backlogs.has(webhook, in: topicPartition.partition) {
            guard
                let isBehind = await relay.insist({ [relay] in
                    try await relay.store.hasWaitingDeliveries(webhook: webhook, subject: key.subject)
                })
            else { return false }
            if isBehind { return await store(key, failure: nil) }
        }
        guard route.isServed else { return await store(key, failure: nil) }
        let endpoint = relay.sender.endpoint(of: webhook)
        guard await endpoint.admit() else {
            return Task.isCancelled ? false : await store(key, failure: nil)
        }
        let result = await relay.sender.send(event.delivery, to: route, isQuickRepeated: true)
        if endpoint.end(result) { relay.stored.endpointIsBack(webhook, partition: topicPartition.partition) }
        // Given up in the middle: the next owner sends it again, with the same id.
        guard !Task.isCancelled, !abandoned.isOpen else { return false }
        switch result.disposition {
        case .delivered:
            if relay.failing.contains(webhook) || route.health.failingSinceMs != nil {
                guard await relay.noteSuccess(event) else { return false }
            }
            finish(1, of: key)
            return true
        case .failed, .disable: return await store(key, failure: result)
        case .abort:
            guard
                await relay.insist({ [relay] in
                    try await relay.store.storeAborted(event.delivery, WebhookFailure(result), nowMs: relay.nowMs())
                }) != nil
            else { return false }
            relay.noteFailure(event)
            finish(1, of: key)
            return true
        }
    }

    /// Moves the lane's events to the store, in one transaction.
    /// - Parameter failure: of the first one.
    private func store(_ key: LaneKey, failure: AttemptResult?) async -> Bool {
        let events = state.withLock { $0.lanes[key].map { Array($0.prefix(500)) } ?? [] }
        guard let first = events.first else { return true }
        relay.backlogs.add(key.webhook, in: topicPartition.partition)
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
                    events.map(\.delivery), failure: failure.map(WebhookFailure.init), dueMs: due, nowMs: nowMs)
            }) != nil
        else { return false }
        relay.metrics.stored(events.count)
        if failure != nil { relay.noteFailure(first) }
        relay.stored.wake()
        finish(events.count, of: key)
        return true
    }

    /// The first so many events of a lane are done.
    private func finish(_ count: Int, of key: LaneKey) {
        let (slots, isEmpty) = state.withLock { state -> (Int, Bool) in
            guard !abandoned.isOpen, var lane = state.lanes[key] else { return (0, false) }
            var slots = 0
            for _ in 0..<min(count, lane.count) {
                let offset = lane.removeFirst().offset
                let left = (state.open[offset] ?? 1) - 1
                guard left == 0 else {
                    state.open[offset] = left
                    continue
                }
                state.open[offset] = nil
                state.ledger.complete(offset)
                state.held -= 1
                slots += 1
            }
            state.lanes[key] = lane
            return (slots, !state.isReading && state.ledger.inFlight == 0)
        }
        for _ in 0..<slots { relay.slots.give() }
        if isEmpty { drained.open() }
    }
}

extension WebhookFailure {
    init(_ result: AttemptResult) {
        self.init(
            status: result.status, code: result.code, reason: result.reason,
            isDisabling: result.disposition == .disable, isOurs: result.isOurs)
    }
}
