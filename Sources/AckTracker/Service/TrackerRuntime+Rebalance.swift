import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

extension TrackerRuntime {
    /// Answers assignments and revocations until the consumer is closed.
    func followRebalances() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for await event in consumer.events {
                try await event.answer(logger: logger) { assignment in
                    for (partition, readers) in try await assigned(assignment) {
                        group.addTask { await self.read(partition, readers) }
                    }
                } end: { reason in
                    switch reason {
                    case .revoked: await handOver()
                    case .lost: drop()
                    case .rewritten(let partitions): startOver(partitions)
                    }
                }
            }
        }
    }

    private func assigned(
        _ assignment: Assignment
    ) async throws -> [(TrackedPartition, [PartitionReader])] {
        let now = clock.now()
        let wanted = Dictionary(grouping: assignment.partitions, by: \.partition).filter { $0.value.count == 4 }.keys
        if wanted.count * 4 != assignment.partitions.count {
            logger.error(
                "the assignment does not contain the same partitions of the four topics; the incomplete ones are not served",
                metadata: ["partitions": "\(assignment.partitions)"])
        }
        let (kept, given) = state.withLock { state in
            // The state of a partition that another member owns now is rebuilt from the log if the partition returns.
            let given = state.partitions.values.filter { !wanted.contains($0.number) }
            state.partitions = state.partitions.filter { wanted.contains($0.key) }
            return (state.partitions, given)
        }
        fence.shut()
        writer.dropRetries(of: given)
        let fresh = wanted.filter { kept[$0] == nil }.sorted()
        let positions = fresh.flatMap { number in
            Topic.copartitioned.map { TopicPartition(topic: configuration.topics[$0], partition: number) }
        }
        let committed = try await consumer.committed(
            positions, deadline: configuration.requestDeadline, logger: logger
        ) { failures in failures < 10 }
        var partitions = kept
        for number in fresh {
            var start = Positions()
            var newsFrom = Positions()
            for topic in Positions.indices {
                let key = TopicPartition(
                    topic: configuration.topics[Topic.copartitioned[topic]], partition: number)
                guard !assignment.rewritten.contains(key), let found = committed[key] ?? nil else { continue }
                start[topic] = found.offset
                newsFrom[topic] = AnnouncedMarks.offset(metadata: found.metadata) ?? found.offset
            }
            partitions[number] = TrackedPartition(
                number: number, policy: configuration.policy, start: start, newsFrom: newsFrom,
                leadMs: configuration.checkpointLead.wholeMilliseconds, at: now)
        }
        var starts: [TopicPartition: StartOffset] = [:]
        for partition in partitions.values {
            partition.begin(at: now)
            for (topic, key) in topicPartitions(of: partition, topics: Positions.indices).enumerated() {
                starts[key] = .at(partition.positions[topic])
            }
        }
        let readers: [TopicPartition: PartitionReader]
        do {
            readers = try await assignment.accept(from: starts)
        } catch {
            // The assignment was revoked before it could be accepted; the revocation follows.
            logger.warning("an assignment could not be taken over", metadata: ["error": "\(error)"])
            for partition in partitions.values { partition.suspend() }
            return []
        }
        let taken = partitions
        state.withLock {
            $0.partitions = taken
            $0.isAssigned = true
        }
        logger.info(
            "assigned",
            metadata: ["partitions": "\(taken.keys.sorted())", "kept": "\(kept.keys.sorted())"])
        showReadiness()
        return taken.values.compactMap { partition in
            let own = topicPartitions(of: partition, topics: Positions.indices).compactMap { readers[$0] }
            return own.count == 4 ? (partition, own) : nil
        }
    }

    /// Reads these partitions from their start. Held challenges stay held.
    private func startOver(_ rewritten: Set<TopicPartition>) {
        metrics.logsCut.increment(by: rewritten.count)
        let now = clock.now()
        for partition in owned {
            partition.suspend()
            for (topic, key) in topicPartitions(of: partition, topics: Positions.indices).enumerated()
            where rewritten.contains(key) { partition.startOver(topic, at: now) }
        }
        end()
    }

    private func handOver() async {
        let partitions = owned
        for partition in partitions { partition.suspend() }
        // Decisions that were made must be on the log, so that the next owner finds them.
        if !(await producer.flush(deadline: configuration.kafka.drainBound)) {
            logger.warning("not everything was written before the partitions were handed over")
        }
        await commit(partitions, term: fence.term, deadline: configuration.kafka.drainBound)
        end()
    }

    private func drop() {
        let partitions = owned
        for partition in partitions { partition.suspend() }
        end()
        writer.dropRetries(of: partitions)
        // Other members may have read and written in the meantime, so the state is useless.
        state.withLock { $0.partitions = [:] }
    }

    private func end() {
        state.withLock { $0.isAssigned = false }
        fence.shut()
        showReadiness()
    }
}
