import ChallengeModel
import KafkaClient
import Logging
import ServiceSupport
import Synchronization

/// Commits, and the questions to Kafka that go with them.
extension DispatcherService {
    func commitIfDue(_ consumer: KafkaConsumer, _ control: inout Control) async {
        let now = Moment.now().steadyMs
        guard now >= control.nextCommitMs else { return }
        let lanes = lanes.withLock { Array($0.values) }
        var commits: [TopicPartition: CommittedOffset] = [:]
        for lane in lanes {
            guard let commit = lane.status.commit else { continue }
            commits[partition(.challenges, lane.partition)] = commit
        }
        guard !commits.isEmpty else { return }
        let wasOpen = gate.isOpen(steadyMs: now)
        let isAcknowledged = await commit(
            commits, consumer, deadline: min(.seconds(3), configuration.commitFreshness))
        // A refusal is asked again sooner: without a commit nothing is pushed.
        control.nextCommitMs = now + (isAcknowledged ? configuration.commitInterval.milliseconds : 200)
        if isAcknowledged, !wasOpen { for lane in lanes { lane.signal.fire() } }
    }

    @discardableResult
    func commit(
        _ commits: [TopicPartition: CommittedOffset], _ consumer: KafkaConsumer, deadline: Duration
    ) async -> Bool {
        guard !commits.isEmpty else { return true }
        let sentAt = Moment.now().steadyMs
        do {
            try await consumer.commit(commits, deadline: deadline)
            gate.acknowledge(sentAtSteadyMs: sentAt)
            metrics.count(.commits, [("result", "acknowledged")])
            return true
        } catch {
            // Inside a rebalance it is normal; what it leaves open is found again in `outcomes`.
            metrics.count(.commits, [("result", "refused")])
            logger.debug("a commit was not acknowledged", metadata: ["error": "\(error)"])
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
