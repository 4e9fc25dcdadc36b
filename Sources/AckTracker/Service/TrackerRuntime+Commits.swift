import ChallengeModel
import CoreMetrics
import KafkaClient
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
            // A broker that is away holds an answer back for many seconds, and however late it comes it counts.
            await commit(owned, deadline: max(configuration.requestDeadline, fence))
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
                state.refusal = nil
            }
            readiness.pass(TrackerService.Check.commits)
        } catch {
            metrics.commitFailures.increment()
            // Inside a rebalance a refusal is normal.
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
            state.withLock { state in
                state.refusal = error
                // Counted out: someone else has the partitions, or will.
                if error.isEviction { state.committedAt = nil }
            }
        }
    }

    /// Beside the commits, whose answers may be long in coming.
    func showCommits() {
        let (committedAt, refusal, isAssigned) = state.withLock { ($0.committedAt, $0.refusal, $0.isAssigned) }
        guard isAssigned, !isFenceOpen, committedAt != nil || refusal != nil else { return }
        let what =
            if let committedAt {
                "the group's coordinator has acknowledged no commit for \((ContinuousClock.now - committedAt).components.seconds) s"
            } else if refusal?.isEviction == true { "the group has counted us out" } else {
                "no commit is acknowledged"
            }
        readiness.fail(
            TrackerService.Check.commits, "\(what); nothing is pushed again\(refusal.map { " (\($0))" } ?? "")")
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
            metrics.commitAge.record(Double(age.wholeMilliseconds) / 1000)
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
