import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

extension TrackerRuntime {
    /// About once a second: checkpoint, commit, gauges.
    func commitRegularly() async {
        let interval = configuration.commitInterval ?? min(.seconds(1), configuration.kafka.sessionTimeout / 6)
        var rounds = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            guard !Task.isCancelled else { return }
            // An unavailable broker can delay an answer for many seconds, and a late answer still counts.
            let term = fence.term
            await commit(owned, term: term, deadline: max(configuration.requestDeadline, fence.freshFor))
            rounds += 1
            await measure(includingLag: rounds % 5 == 0)
        }
    }

    /// Commits the checkpoints of partitions that have caught up. It commits also when nothing has changed, because the
    /// acknowledgement shows that this tracker still owns them.
    /// - Parameter term: the term of the assignment, read before the partitions.
    func commit(_ partitions: [TrackedPartition], term: Int, deadline: Duration) async {
        let now = clock.now()
        var offsets: [TopicPartition: CommittedOffset] = [:]
        for partition in partitions {
            guard let (commit, announced) = partition.checkpoint(at: now) else { continue }
            for (topic, key) in topicPartitions(of: partition, topics: Positions.indices).enumerated() {
                offsets[key] = CommittedOffset(
                    offset: commit[topic], metadata: AnnouncedMarks.metadata(announced[topic]))
            }
        }
        guard !offsets.isEmpty else { return }
        switch await fence.commit(offsets, by: consumer, term: term, deadline: deadline) {
        case .acknowledged: readiness.pass(TrackerService.Check.commits)
        case .refused(let error):
            metrics.commitFailures.increment()
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
        }
    }

    /// Runs separately from the commits, because their answers may take long.
    func showCommits() {
        let complaint = fence.complaint(atMs: clock.now().localMs, consequence: "nothing is pushed again")
        guard let complaint, state.withLock({ $0.isAssigned }) else { return }
        readiness.fail(TrackerService.Check.commits, complaint)
    }

    private func measure(includingLag: Bool) async {
        let now = clock.now()
        let partitions = owned
        var sum = TrackedPartition.Gauges()
        for gauges in partitions.map({ $0.gauges(at: now) }) {
            sum.held += gauges.held
            sum.due += gauges.due
            sum.early += gauges.early
        }
        metrics.held.record(sum.held)
        metrics.due.record(sum.due)
        metrics.early.record(sum.early)
        metrics.partitions.record(partitions.filter(\.isLive).count)
        metrics.partitionsExpected.record(topics.partitions ?? 0)
        let ageMs = partitions.isEmpty ? nil : fence.ageMs(atMs: now.localMs)
        metrics.commitAge.record(Double(ageMs ?? 0) / 1000)
        metrics.expectedLatencies(state.withLock { $0.latencies.expected })
        guard includingLag, !partitions.isEmpty else { return }
        let wanted = partitions.flatMap { topicPartitions(of: $0, topics: Positions.indices) }
        guard let ends = try? await consumer.endOffsets(wanted, deadline: .seconds(1)) else { return }
        var lag: Int64 = 0
        for partition in partitions {
            let positions = partition.positions
            for (topic, key) in topicPartitions(of: partition, topics: Positions.indices).enumerated() {
                lag += max(0, (ends[key] ?? 0) - positions[topic])
            }
        }
        metrics.lag.record(lag)
    }
}
