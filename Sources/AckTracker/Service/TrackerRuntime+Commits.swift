import ChallengeModel
import CoreMetrics
import KafkaClient
import Logging
import ServiceSupport
import Synchronization

extension TrackerRuntime {
    /// About once a second: checkpoint, commit, gauges.
    func commitRegularly() async {
        let interval = configuration.commitInterval ?? min(.seconds(1), configuration.kafka.sessionTimeout / 6)
        var rounds = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            guard !Task.isCancelled else { return }
            await commit(owned, deadline: configuration.requestDeadline)
            rounds += 1
            await measure(includingLag: rounds % 5 == 0)
        }
    }

    /// Commits the checkpoints of what has caught up. Also when nothing moved: the acknowledgement says that we still own it.
    func commit(_ partitions: [TrackedPartition], deadline: Duration) async {
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
        let askedAt = ContinuousClock.now
        do {
            try await consumer.commit(offsets, deadline: deadline)
            state.withLock { state in
                // Not when the assignment ended meanwhile: the next one needs an acknowledgement of its own.
                guard state.isAssigned, partitions.contains(where: { state.partitions[$0.number] === $0 }) else {
                    return
                }
                state.committedAt = max(state.committedAt ?? askedAt, askedAt)
            }
            readiness.pass(TrackerService.Check.commits)
        } catch {
            metrics.commitFailures.increment()
            // Inside a rebalance a refusal is normal.
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
            if !isFenceOpen { readiness.fail(TrackerService.Check.commits, "\(error)") }
        }
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
        if let committedAt = state.withLock({ $0.committedAt }) {
            let age = ContinuousClock.now - committedAt
            metrics.commitAge.record(Double(age.milliseconds) / 1000)
        }
        for (key, milliseconds) in state.withLock({ $0.latencies.expected }) {
            metrics.expectedLatency(
                platform: "\(Platform(rawValue: Int(key.platform)) ?? .unspecified)", app: key.app,
                milliseconds: milliseconds)
        }
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
