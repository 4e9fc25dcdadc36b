import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

/// Commits, and the related queries to Kafka.
extension DispatcherService {
    /// Sends due commits outside the control loop, which must be free for rebalances, because an unavailable broker can
    /// delay an answer for many seconds. Only one commit is in progress at a time, so that an older one cannot overtake
    /// a newer one.
    func commitIfDue(_ consumer: KafkaConsumer, _ control: inout Control, _ tasks: inout Tasks) {
        let now = Moment.now().steadyMs
        guard now >= control.nextCommitMs, !mailbox.withLock({ $0.isCommitting }) else { return }
        let term = fence.term
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
            let isAcknowledged = await self.commit(due, consumer, term: term, deadline: self.fence.freshFor)
            // After a refusal the next commit is sent sooner, because nothing is pushed without a commit.
            if !isAcknowledged { try? await Task.sleep(for: .milliseconds(200)) }
            self.mailbox.withLock { mailbox in
                mailbox.isCommitting = false
                mailbox.isCommitDue = !isAcknowledged
            }
            self.signal.fire()
        }
    }

    /// - Parameters:
    ///   - term: the term of the assignment that the offsets belong to.
    ///   - deadline: longest wait for the answer. A later answer is ignored.
    @discardableResult
    func commit(
        _ commits: [TopicPartition: CommittedOffset], _ consumer: KafkaConsumer, term: Int, deadline: Duration
    ) async -> Bool {
        guard !commits.isEmpty else { return true }
        switch await fence.commit(commits, by: consumer, term: term, deadline: deadline) {
        case .acknowledged(let isOpening):
            metrics.count(.commits, [("result", "acknowledged")])
            if isOpening { for lane in lanes.withLock({ Array($0.values) }) { lane.signal.fire() } }
            return true
        case .refused(let error):
            // Work that was not committed is found again in `outcomes`.
            metrics.count(.commits, [("result", "refused")])
            logger.debug("a commit was not acknowledged", metadata: ["error": "\(error)"])
            return false
        }
    }

    // MARK: - Ends

    /// Queries the ends of the topics once a second, and at once for lanes that must catch up or hold an attempt back.
    /// The ends are also used for checkpoints and the lag.
    func askForEnds(_ consumer: KafkaConsumer) async {
        let ends = EndOffsets(consumer: consumer, logger: logger) { Moment.now().steadyMs }
        // Bounded by the partitions, because each has at most one query in progress.
        await withDiscardingTaskGroup { group in
            var nextMs: Int64 = 0
            while !Task.isCancelled {
                let now = Moment.now().steadyMs
                let lanes = lanes.withLock { $0.mapValues { ($0, $0.status) } }
                if lanes.values.contains(where: { $0.1.needsEnds }) || now >= nextMs, !lanes.isEmpty {
                    if now >= nextMs { nextMs = now + 1000 }
                    for question in ends.questions(for: lanes.keys.sorted()) {
                        group.addTask { await self.ask(ends, question, of: lanes) }
                    }
                }
                try? await Task.sleep(for: .milliseconds(50))
            }
            group.cancelAll()
        }
    }

    private func ask(_ ends: EndOffsets, _ question: [Int32], of lanes: [Int32: (Lane, LaneStatus)]) async {
        await ends.ask(question, together: .seconds(1), alone: .seconds(3)) { number in
            let topics = lanes[number]?.1.needsEnds == true ? Topic.copartitioned : [.challenges]
            return topics.map { self.partition($0, number) }
        } answered: { answer in
            guard let (lane, status) = lanes[answer.number],
                let end = answer.ends?[self.partition(.challenges, answer.number)]
            else { return }
            let found = status.needsEnds ? answer.ends : nil
            lane.post(
                ends: LaneEnds(
                    askedAtSteadyMs: answer.askedAtMs, challenges: end,
                    outcomes: found?[self.partition(.outcomes, lane.partition)],
                    receipts: found?[self.partition(.receipts, lane.partition)],
                    resolutions: found?[self.partition(.resolutions, lane.partition)],
                    receiptsRead: status.receiptsRead, resolutionsRead: status.resolutionsRead))
            self.metrics.set(
                .lag, Double(max(0, end - lane.status.next)), [("partition", String(lane.partition))])
        }
    }
}
