import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import Wire

/// Commits, and the questions to Kafka that go with them.
extension DispatcherService {
    /// Sends what is due beside the control loop, which must be free for rebalances: a broker that is away holds an answer
    /// back for many seconds. One at a time, so that what is older does not overtake.
    func commitIfDue(_ consumer: KafkaConsumer, _ control: inout Control, _ tasks: inout Tasks) {
        let now = Moment.now().steadyMs
        guard now >= control.nextCommitMs, !mailbox.withLock({ $0.isCommitting }) else { return }
        let lanes = lanes.withLock { Array($0.values) }
        var commits: [TopicPartition: CommittedOffset] = [:]
        for lane in lanes {
            guard let commit = lane.status.commit else { continue }
            commits[partition(.challenges, lane.partition)] = commit
        }
        guard !commits.isEmpty else { return }
        control.nextCommitMs = now + configuration.commitInterval.wholeMilliseconds
        mailbox.withLock { $0.isCommitting = true }
        let due = commits
        tasks.addTask {
            let isAcknowledged = await self.commit(due, consumer, deadline: self.configuration.commitFreshness)
            // A refusal is asked again sooner: without a commit nothing is pushed.
            if !isAcknowledged { try? await Task.sleep(for: .milliseconds(200)) }
            self.mailbox.withLock { mailbox in
                mailbox.isCommitting = false
                mailbox.isCommitDue = !isAcknowledged
            }
            self.signal.fire()
        }
    }

    /// - Parameter deadline: for the wait; an answer that comes later counts no more.
    @discardableResult
    func commit(
        _ commits: [TopicPartition: CommittedOffset], _ consumer: KafkaConsumer, deadline: Duration
    ) async -> Bool {
        guard !commits.isEmpty else { return true }
        let term = gate.term
        let sentAt = Moment.now().steadyMs
        do {
            try await consumer.commit(commits, deadline: deadline)
            let isOpening = gate.acknowledge(
                sentAtSteadyMs: sentAt, term: term, steadyMs: Moment.now().steadyMs)
            metrics.count(.commits, [("result", "acknowledged")])
            refusedCommit.withLock { $0 = nil }
            if isOpening { for lane in lanes.withLock({ Array($0.values) }) { lane.signal.fire() } }
            return true
        } catch {
            // Inside a rebalance it is normal; what it leaves open is found again in `outcomes`.
            metrics.count(.commits, [("result", "refused")])
            logger.debug("a commit was not acknowledged", metadata: ["error": "\(error)"])
            refusedCommit.withLock { $0 = error }
            if error.isEviction { gate.evict(term: term) }
            return false
        }
    }

    // MARK: - Ends

    /// Once a second, and at once for lanes that have to catch up or hold an attempt back, asks where the topics end; for
    /// checkpoints and the lag as well.
    func askForEnds(_ consumer: KafkaConsumer) async {
        var nextMs: Int64 = 0
        while !Task.isCancelled {
            let now = Moment.now().steadyMs
            let lanes = lanes.withLock { $0.values.map { ($0, $0.status) } }
            if lanes.contains(where: { $0.1.needsEnds }) || now >= nextMs, !lanes.isEmpty {
                if now >= nextMs { nextMs = now + 1000 }
                await ask(consumer, lanes)
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    /// One batched query; when it fails one per lane, so that a partition without a leader holds up no other.
    private func ask(_ consumer: KafkaConsumer, _ lanes: [(Lane, LaneStatus)]) async {
        guard lanes.count > 1 else { return _ = await areEndsKnown(consumer, lanes, deadline: .seconds(3)) }
        if await areEndsKnown(consumer, lanes, deadline: .seconds(1)) { return }
        await withDiscardingTaskGroup { group in
            for lane in lanes {
                group.addTask { _ = await self.areEndsKnown(consumer, [lane], deadline: .seconds(3)) }
            }
        }
    }

    private func areEndsKnown(
        _ consumer: KafkaConsumer, _ lanes: [(Lane, LaneStatus)], deadline: Duration
    ) async -> Bool {
        let partitions = lanes.flatMap { lane, status in
            (status.needsEnds ? Topic.copartitioned : [.challenges]).map { partition($0, lane.partition) }
        }
        let askedAt = Moment.now().steadyMs
        do {
            let ends = try await consumer.endOffsets(partitions, deadline: deadline)
            for (lane, status) in lanes {
                guard let end = ends[partition(.challenges, lane.partition)] else { continue }
                lane.post(
                    ends: LaneEnds(
                        askedAtSteadyMs: askedAt, challenges: end, outcomes: ends[partition(.outcomes, lane.partition)],
                        receipts: ends[partition(.receipts, lane.partition)],
                        resolutions: ends[partition(.resolutions, lane.partition)],
                        receiptsRead: status.receiptsRead, resolutionsRead: status.resolutionsRead))
                metrics.set(.lag, Double(max(0, end - lane.status.next)), [("partition", String(lane.partition))])
            }
            return true
        } catch {
            logger.debug("asking for the ends of the topics", metadata: ["error": "\(error)"])
            return false
        }
    }
}
