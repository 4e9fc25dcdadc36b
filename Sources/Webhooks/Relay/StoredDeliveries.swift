import ChallengeModel
import Challenges
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

/// Sends the events that the store keeps, for the partitions of `events` that this relay owns: so that no two relays
/// send the events of one lane, and nothing is leased. Only the first event of a lane has a due time.
final class StoredDeliveries: AssignmentCompanion {
    private struct State {
        /// The run that is going on; nil: none.
        var run: Run?
        var underWay: Set<Int64> = []
        var back: Set<Back> = []
    }

    /// One assignment of partitions.
    private final class Run: Sendable {
        let partitions: Set<Int32>
        /// Nothing more is started.
        let stopped = Latch()
        /// What is under way is given up.
        let abandoned = Latch()
        let ended = Latch()

        init(partitions: Set<Int32>) {
            self.partitions = partitions
        }
    }

    private struct Back: Hashable {
        let webhook: WebhookSID
        let partition: Int32
    }

    /// Deliveries that one look starts for a webhook and partition.
    private static let batch = 64

    private let store: ChallengeStore
    private let subscriptions: Subscriptions
    private let backlogs: Backlogs
    private let sender: WebhookSender
    private let failing: FailingWebhooks
    private let metrics: WebhookMetrics
    private let readiness: Readiness
    private let log: LimitedLog
    private let state = Mutex(State())
    private let signal = ArrivalSignal()

    init(
        store: ChallengeStore, subscriptions: Subscriptions, backlogs: Backlogs, sender: WebhookSender,
        failing: FailingWebhooks, metrics: WebhookMetrics, readiness: Readiness, log: LimitedLog
    ) {
        self.store = store
        self.subscriptions = subscriptions
        self.backlogs = backlogs
        self.sender = sender
        self.failing = failing
        self.metrics = metrics
        self.readiness = readiness
        self.log = log
    }

    /// Looks soon.
    func wake() { signal.fire() }

    /// The endpoint answers again: what is stored for it is due at once.
    func endpointIsBack(_ webhook: WebhookSID, partition: Int32) {
        state.withLock { state in
            // It is one endpoint for all partitions.
            for number in (state.run?.partitions ?? []).union([partition]) {
                state.back.insert(Back(webhook: webhook, partition: number))
            }
        }
        wake()
    }

    /// Reads which webhooks have stored events: a new event must not overtake those of its lane that an earlier owner
    /// of the partition has stored.
    func prepare() async -> Bool {
        do {
            _ = try await refresh()
            return true
        } catch {
            metrics.storeRetried()
            readiness.fail(WebhookRelayService.Check.partitions, "the store does not answer: \(error)")
            return false
        }
    }

    /// Sends what is stored for these partitions of `events`, until ``stop(within:)``. One assignment at a time.
    func begin(_ partitions: Set<TopicPartition>) -> @Sendable () async -> Void {
        let run = Run(partitions: Set(partitions.map(\.partition)))
        state.withLock { $0.run = run }
        readiness.pass(WebhookRelayService.Check.partitions)
        return { await self.work(for: run) }
    }

    private func refresh() async throws -> [WebhookBacklog] {
        backlogs.begin()
        let found = try await store.webhookBacklogs()
        backlogs.end(found)
        return found
    }

    private func work(for run: Run) async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while (try? await Task.sleep(for: .milliseconds(500))) != nil { self.wake() }
            }
            group.addTask {
                await run.stopped.wait()
                self.wake()
            }
            wake()
            while await signal.wait(), !run.stopped.isOpen {
                let began = ContinuousClock.now
                do {
                    try await look(run, &group)
                } catch {
                    metrics.storeRetried()
                    log.warning("stored webhook events cannot be read", metadata: ["error": "\(error)"])
                    _ = await run.stopped.wait(atMost: .milliseconds(500))
                }
                // A look reads a row for each lane: it takes at most half of the time.
                _ = await run.stopped.wait(atMost: max(.milliseconds(10), ContinuousClock.now - began))
            }
            await run.abandoned.wait()
            group.cancelAll()
        }
        run.ended.open()
    }

    /// Starts nothing more, waits for what is under way at most this long, and gives up the rest. Returns when nothing
    /// is under way.
    func stop(within deadline: Duration) async {
        let run = state.withLock { state in
            defer { state.run = nil }
            return state.run
        }
        guard let run else { return }
        readiness.fail(WebhookRelayService.Check.partitions, "no partitions are assigned yet")
        run.stopped.open()
        let end = ContinuousClock.now + deadline
        while ContinuousClock.now < end, state.withLock({ !$0.underWay.isEmpty }) {
            try? await Task.sleep(for: .milliseconds(10))
        }
        run.abandoned.open()
        await run.ended.wait()
    }

    private func look(_ run: Run, _ group: inout DiscardingTaskGroup) async throws {
        let back = state.withLock { state in
            defer { state.back = [] }
            return state.back
        }
        for place in back where run.partitions.contains(place.partition) {
            try await store.bringForwardDeliveries(
                partition: place.partition, webhook: place.webhook, nowMs: Timestamp.nowMs())
        }
        let nowMs = Timestamp.nowMs()
        let found = try await refresh().filter { run.partitions.contains($0.partition) }
        let oldestMs = found.map(\.dueMs).min() ?? nowMs
        metrics.set(.overdue, max(0, Double(nowMs - oldestMs)) / 1000)
        for backlog in found where backlog.dueMs <= nowMs && !run.stopped.isOpen {
            try await start(backlog, run, &group)
        }
    }

    private func start(_ backlog: WebhookBacklog, _ run: Run, _ group: inout DiscardingTaskGroup) async throws {
        let route = try await subscriptions.route(
            backlog.webhook, account: backlog.account, service: backlog.service)
        let nowMs = Timestamp.nowMs()
        let busy = state.withLock { $0.underWay.count }
        let due = try await store.dueWebhookDeliveries(
            partition: backlog.partition, webhook: backlog.webhook, nowMs: nowMs, limit: Self.batch + busy)
        guard let route, route.isServed else {
            for delivery in due where !run.stopped.isOpen { try await store.setAside(delivery, nowMs: nowMs) }
            // The store may know better.
            subscriptions.forget(backlog.service)
            return
        }
        let endpoint = sender.endpoint(of: backlog.webhook)
        for delivery in due {
            guard state.withLock({ !$0.underWay.contains(delivery.id) }), !run.stopped.isOpen else { continue }
            guard endpoint.tryAdmit() else { return }
            state.withLock { _ = $0.underWay.insert(delivery.id) }
            group.addTask {
                await LogContext.$current.withValue(LogContext(trace: delivery.traceparent)) {
                    await self.attempt(delivery, route, endpoint, run)
                }
            }
        }
    }

    private func attempt(_ delivery: WebhookDelivery, _ route: WebhookRoute, _ endpoint: Endpoint, _ run: Run) async {
        let result = await sender.send(delivery, to: route, isQuickRepeated: false)
        let isBack = endpoint.end(result)
        if isBack { endpointIsBack(delivery.webhook, partition: delivery.partition) }
        // Given up in the middle: the next owner sends it. A delivery that was answered counts all the same.
        if result.disposition == .delivered || !(Task.isCancelled || run.abandoned.isOpen) {
            await end(delivery, route, result)
        }
        state.withLock { _ = $0.underWay.remove(delivery.id) }
        wake()
    }

    private func end(_ delivery: WebhookDelivery, _ route: WebhookRoute, _ result: AttemptResult) async {
        let nowMs = Timestamp.nowMs()
        let failure = WebhookFailure(result)
        let fate: WebhookFate
        switch result.disposition {
        case .delivered: fate = .delivered
        case .abort: fate = .aborted(failure)
        case .failed, .disable:
            let failures = delivery.failures + (result.isOurs ? 0 : 1)
            let dueMs = RetrySchedule.next(
                failures: max(1, failures), firstFailureMs: delivery.failures == 0 ? nowMs : delivery.firstFailureMs,
                nowMs: nowMs, retryAfter: result.retryAfter, random: Double.random(in: 0..<1))
            // A fault of ours never ends it.
            fate = .failed(failure, dueMs: result.isOurs ? dueMs ?? nowMs + 30_000 : dueMs)
        }
        if case .delivered = fate { failing.remove(delivery.webhook) } else { failing.insert(delivery.webhook) }
        var backoff = Backoff()
        while true {
            do {
                try await store.end(delivery, fate, nowMs: nowMs)
                // Its health has changed.
                if fate != .delivered || route.health.failingSinceMs != nil { subscriptions.forget(delivery.service) }
                return
            } catch {
                metrics.storeRetried()
                log.warning("the end of a webhook delivery cannot be stored", metadata: ["error": "\(error)"])
            }
            // Not stored: it is sent again, with the same id.
            guard await backoff.wait() else { return }
        }
    }
}
