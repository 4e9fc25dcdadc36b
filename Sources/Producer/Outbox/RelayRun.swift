import ChallengeModel
import Challenges
import Dispatch
import KafkaClient
import Logging
import Metrics
import ServiceSupport
import Synchronization
import Wire

/// One relay at work: the window, and the I/O around it.
final class RelayRun: Sendable {
    private struct State {
        var window: RelayWindow
        /// Reports that came and are not worked in.
        var reports: [(id: Int64, fate: RelayFate)] = []
        /// Of the last report that was not an acknowledgement.
        var lastError: KafkaError?
        var deletions: [Int64] = []
        var releases: [Int64] = []
        /// Handed to the store, not yet answered.
        var settling = 0
        var startsOverAt = ContinuousClock.now
        /// When a record was acknowledged last, or the relay began.
        var acknowledgedAt = ContinuousClock.now
        /// Waits until every row in flight has its report.
        var idle: CheckedContinuation<Void, Never>?

        var taken: Int { window.held + deletions.count + releases.count + settling }
    }

    private let store: any OutboxStore
    private let producer: KafkaProducer
    private let signer: RecordSigner
    private let readiness: Readiness
    private let logger: Logger
    /// For refused records, whose keys may come from outside: anybody may send any number.
    private let refusals: LimitedLog
    private let storeLog: StoreLog
    private let metrics: OutboxMetrics
    private let options: OutboxRelay.Options
    private let nowMs: @Sendable () -> Int64
    private let state: Mutex<State>
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation
    private let settles: AsyncStream<Void>
    private let settle: AsyncStream<Void>.Continuation

    init(
        store: any OutboxStore, producer: KafkaProducer, signer: RecordSigner, readiness: Readiness, logger: Logger,
        metrics: OutboxMetrics, options: OutboxRelay.Options, nowMs: @escaping @Sendable () -> Int64
    ) {
        self.store = store
        self.producer = producer
        self.signer = signer
        self.readiness = readiness
        self.logger = logger
        refusals = LimitedLog(logger)
        storeLog = StoreLog(logger)
        self.metrics = metrics
        self.options = options
        self.nowMs = nowMs
        // A margin of 5 s, or of a fifth where less than that is left of the lease.
        let reserve = options.messageTimeout + min(.seconds(5), (options.lease - options.messageTimeout) / 5)
        let partitions = RelayPartitions { topic, key in
            OutboxPartition(topic, producer.partition(of: Array(key.utf8), in: signer.names[topic]))
        }
        state = Mutex(State(window: RelayWindow(sendReserveMs: reserve.wholeMilliseconds, partitions: partitions)))
        // One signal is enough: whoever wakes takes everything there is.
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        (settles, settle) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func untilCancelled() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.relay() }
            group.addTask { await self.settleFinished() }
            group.addTask { for await _ in self.store.outboxSignal { self.wake.yield() } }
            group.addTask { await self.tick() }
            group.addTask { await self.keep() }
            group.addTask { await self.observe() }
        }
        await stop()
    }

    // MARK: - Claim and send

    private func relay() async {
        wake.yield()
        var next = ContinuousClock.now
        for await _ in wakes {
            if next > .now { try? await Task.sleep(until: next, clock: .continuous) }
            workInReports()
            var isMore = true
            while isMore, !Task.isCancelled {
                isMore = false
                for part in RelayPartitions.Part.allCases {
                    guard let plan = plan(part) else { continue }
                    next = .now + options.claimPace
                    switch await claim(plan) {
                    case .some(let isFull): isMore = isMore || isFull
                    case nil: next = .now + options.look
                    }
                    workInReports()
                }
            }
        }
    }

    /// What to claim now; nil: nothing. Not while rows are being given back: a later one of the same key would overtake
    /// them.
    private func plan(_ part: RelayPartitions.Part) -> RelayPartitions.Plan? {
        guard !options.isHeld() else { return nil }
        return state.withLock { state in
            guard state.releases.isEmpty else { return nil }
            let room = options.window - state.taken
            // A claim is a commit: not for a handful while hundreds are on their way.
            let least = max(1, min(options.claim, options.window) / 4)
            guard room >= least else { return nil }
            if state.startsOverAt <= .now {
                state.window.partitions.startOver()
                state.startsOverAt = .now + options.lease
            }
            let share = RelayPartitions.share(ofRoom: room - least)
            guard
                let plan = state.window.partitions.plan(
                    part, limit: min(options.claim, room), share: share, nowMs: nowMs())
            else { return nil }
            state.window.claimBegins()
            return plan
        }
    }

    /// - Returns: whether there may be more to claim; nil: the store failed.
    private func claim(_ plan: RelayPartitions.Plan) async -> Bool? {
        let claimedAtMs = nowMs()
        let (rows, scan): ([OutboxRow], OutboxScan)
        do {
            (rows, scan) = try await store.claimOutbox(
                plan.scan, owner: options.owner, leaseMs: options.lease.wholeMilliseconds, nowMs: claimedAtMs)
        } catch {
            state.withLock { $0.window.claimEnds() }
            guard !Task.isCancelled else { return nil }
            metrics.storeFailures.increment()
            storeLog.error("the outbox cannot be claimed", error)
            return nil
        }
        let now = nowMs()
        let step = state.withLock { state in
            // A clock that jumps, or a store that stood still, ends leases under us: what comes back is not sent again.
            state.window.partitions.carriedOut(plan, scan)
            defer { state.window.claimEnds() }
            state.window.clockAheadMs = options.clockAheadMs()
            return state.window.admit(
                rows, leaseEndsMs: scan.leaseEndsMs ?? claimedAtMs + options.lease.wholeMilliseconds, nowMs: now)
        }
        carryOut(step)
        return scan.isFull
    }

    private func workInReports() {
        let now = nowMs()
        let (steps, failures, error) = state.withLock { state in
            let reports = state.reports
            state.reports = []
            state.window.clockAheadMs = options.clockAheadMs()
            return (
                reports.map { state.window.finish($0.id, $0.fate, nowMs: now) },
                reports.count { $0.fate == .failed }, state.lastError
            )
        }
        if failures > 0 {
            // One line for all of them: in an outage they come by the thousand.
            logger.warning(
                "records were not acknowledged and will be sent again",
                metadata: ["records": "\(failures)", "error": "\(error?.description ?? "")"])
        }
        for step in steps { carryOut(step) }
    }

    private func carryOut(_ step: RelayWindow.Step) {
        for row in step.send {
            let span = options.tracer?.send(row.topic, signer.names, key: row.key, after: row.traceparent)
            publish(record(of: row, after: span?.text ?? row.traceparent), of: row, span: span, isDeadLetter: false)
        }
        for row in step.deadLetter {
            publish(
                signer.deadLetter(refused: record(of: row, after: row.traceparent)), of: row, span: nil,
                isDeadLetter: true)
        }
        if step.expired > 0 { metrics.expired.increment(by: step.expired) }
        guard !step.delete.isEmpty || !step.release.isEmpty else { return }
        state.withLock { state in
            state.deletions += step.delete
            state.releases += step.release
        }
        settle.yield()
    }

    private func record(of row: OutboxRow, after context: String?) -> ProducerRecord {
        signer.record(row.topic, key: row.key, value: row.value, contentType: row.contentType, traceparent: context)
    }

    private func publish(_ record: ProducerRecord, of row: OutboxRow, span: ServiceSpan?, isDeadLetter: Bool) {
        let (id, topic, key) = (row.id, row.topic, row.key)
        producer.enqueue(record) { [self] result in
            span?.end(result)
            switch result {
            case .success:
                if isDeadLetter { metrics.deadLetters.increment() } else { metrics.relayed(topic) }
                report(id, .acknowledged, nil)
            case .failure(let error):
                let fate = RelayFate(error, of: record, isDeadLetter: isDeadLetter)
                switch fate {
                case .failed: metrics.kafkaFailures.increment()
                case .refused, .abandoned:
                    if fate == .abandoned { metrics.abandoned.increment() }
                    refusals.error(
                        fate == .refused
                            ? "Kafka refuses a record for good; it goes to dead letters"
                            : "dead letters refuse a record too; it is dropped",
                        metadata: .trace(
                            of: record.headers,
                            ["topic": "\(topic.rawValue)", "key": "\(key)", "error": "\(error)"]))
                case .acknowledged: break
                }
                report(id, fate, error)
            }
        }
    }

    /// On the producer's thread: only keeps and signals.
    private func report(_ id: Int64, _ fate: RelayFate, _ error: KafkaError?) {
        let idle = state.withLock { state in
            state.reports.append((id, fate))
            if fate == .acknowledged { state.acknowledgedAt = .now }
            state.lastError = error ?? state.lastError
            return Self.takeIdle(&state)
        }
        idle?.resume()
        wake.yield()
    }

    private static func takeIdle(_ state: inout State) -> CheckedContinuation<Void, Never>? {
        guard state.reports.count >= state.window.inFlight else { return nil }
        defer { state.idle = nil }
        return state.idle
    }

    // MARK: - Delete and give back

    private func settleFinished() async {
        var next = ContinuousClock.now
        for await _ in settles {
            // Not while there is no room for more.
            let isUrgent = state.withLock { $0.deletions.count >= options.claim || !$0.releases.isEmpty }
            if !isUrgent, next > .now { try? await Task.sleep(until: next, clock: .continuous) }
            next = .now + options.settlePace
            while await !settleOnce(), !Task.isCancelled {
                metrics.storeFailures.increment()
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
    }

    /// - Returns: false when the store failed; then everything is kept for the next time.
    private func settleOnce() async -> Bool {
        let (deletions, releases) = state.withLock { state in
            let taken = (state.deletions, state.releases)
            // What is given back stays in sight of `plan` until it is.
            state.settling += taken.0.count
            state.deletions = []
            return taken
        }
        var isDone = true
        do {
            try await store.deleteOutbox(deletions, owner: options.owner)
            try await store.releaseOutbox(releases, owner: options.owner)
        } catch {
            isDone = false
            storeLog.error("the outbox cannot be settled", error)
        }
        state.withLock { state in
            state.settling -= deletions.count
            if isDone {
                state.releases.removeFirst(releases.count)
                state.window.areDeleted(deletions)
            } else {
                state.deletions = deletions + state.deletions
            }
        }
        // There is room again.
        wake.yield()
        return isDone
    }

    // MARK: - Time and state

    private func tick() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: options.look)
            wake.yield()
        }
    }

    /// Not in the turns of the claims: they pause while the window is full.
    private func keep() async {
        while !Task.isCancelled {
            do {
                try await store.keepOutbox(owner: options.owner, leaseMs: options.lease.wholeMilliseconds)
            } catch {
                guard !Task.isCancelled else { return }
                storeLog.warning("the relay's part of the outbox cannot be kept", error)
            }
            try? await Task.sleep(for: options.look)
        }
    }

    private func observe() async {
        while !Task.isCancelled {
            do {
                let count = try await store.countOutbox()
                let age = count.oldestDispatchMs.map { max(0, nowMs() - $0) }
                metrics.rows.record(count.rows)
                metrics.oldestDispatchSeconds.record(Double(age ?? 0) / 1000)
                let (held, failing, acknowledgedAt) = state.withLock { state in
                    (state.window.held, state.window.partitions.failing, state.acknowledgedAt)
                }
                metrics.held.record(held)
                metrics.failingPartitions.record(failing)
                if let complaint = options.limits.complaint(count, acknowledgedAt: acknowledgedAt, nowMs: nowMs()) {
                    readiness.fail(OutboxRelay.readinessCheck, complaint)
                } else {
                    readiness.pass(OutboxRelay.readinessCheck)
                }
            } catch {
                readiness.fail(OutboxRelay.readinessCheck, "the store does not answer: \(error)")
            }
            try? await Task.sleep(for: options.look)
        }
    }

    /// The task is cancelled here, so nothing in it may wait in a way that ends with the task.
    private func stop() async {
        let step = state.withLock { $0.window.stop() }
        carryOut(step)
        let queue = DispatchQueue.global()
        let bound = DispatchTimeInterval.milliseconds(Int(options.stopBound.wholeMilliseconds))
        await withCheckedContinuation { continuation in
            let idle = state.withLock { state in
                state.idle = continuation
                return Self.takeIdle(&state)
            }
            idle?.resume()
            queue.asyncAfter(deadline: .now() + bound) { [self] in
                let late = state.withLock { state in
                    defer { state.idle = nil }
                    return state.idle
                }
                late?.resume()
            }
        }
        workInReports()
        let isSettled = await settleOnce()
        if !isSettled { logger.warning("what was acknowledged last will be published again after its lease") }
        let left = state.withLock { $0.window.inFlight }
        if isSettled, left == 0 {
            do { try await store.leaveOutbox(owner: options.owner) } catch {
                storeLog.warning("another relay takes over when the lease ends", error)
            }
        }
        if left > 0 {
            logger.warning(
                "stopped with records unacknowledged; they will be sent again", metadata: ["rows": "\(left)"])
        }
    }
}
