import ChallengeModel
import CoreMetrics
import KafkaClient
import Logging
import ServiceSupport
import Synchronization
import Wire

extension TrackerRuntime {
    /// Answers assignments and revocations until the consumer is closed.
    func followRebalances() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for await event in consumer.events {
                switch event {
                case .assigned(let assignment):
                    for (partition, readers) in try await assigned(assignment) {
                        group.addTask { await self.read(partition, readers) }
                    }
                case .revoked(let revocation):
                    await revoked(revocation)
                case .lost(let revocation):
                    await lost(revocation)
                case .rewritten(let assignment):
                    guard assignment.isCurrent else { break }
                    for (partition, readers) in try await rewritten(assignment) {
                        group.addTask { await self.read(partition, readers) }
                    }
                case .fault(let error):
                    guard !error.isFatal else { throw error }
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
                "the assignment does not give the same partitions of the four topics; the odd ones are left alone",
                metadata: ["partitions": "\(assignment.partitions)"])
        }
        let (kept, given) = state.withLock { state in
            // What another member owns now comes back from the log if it ever comes back.
            let given = state.partitions.values.filter { !wanted.contains($0.number) }
            state.partitions = state.partitions.filter { wanted.contains($0.key) }
            state.committedAt = nil
            state.refusal = nil
            return (state.partitions, given)
        }
        writer.dropRetries(of: given)
        let fresh = wanted.filter { kept[$0] == nil }.sorted()
        let committed = try await committedPositions(fresh)
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
            // Taken away again before we could take it over: the revocation that follows says so.
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

    /// Topics were deleted and made anew, or their logs were cut. What is held stays held; these partitions are read from their start.
    private func rewritten(
        _ assignment: Assignment
    ) async throws -> [(TrackedPartition, [PartitionReader])] {
        metrics.logsCut.increment(by: assignment.rewritten.count)
        logger.error(
            "topics were made anew, or cut: these partitions are read from their start",
            metadata: ["partitions": "\(assignment.rewritten.sorted())"])
        let now = clock.now()
        for partition in owned {
            partition.suspend()
            for (topic, key) in topicPartitions(of: partition, topics: Positions.indices).enumerated()
            where assignment.rewritten.contains(key) { partition.startOver(topic, at: now) }
        }
        end()
        return try await assigned(assignment)
    }

    /// The group's positions, asked for again while the coordinator is not there.
    private func committedPositions(_ numbers: [Int32]) async throws -> [TopicPartition: CommittedOffset?] {
        guard !numbers.isEmpty else { return [:] }
        let partitions = numbers.flatMap { number in
            Topic.copartitioned.map { TopicPartition(topic: configuration.topics[$0], partition: number) }
        }
        var failures = 0
        while true {
            do {
                return try await consumer.committed(partitions, deadline: configuration.requestDeadline)
            } catch {
                failures += 1
                guard failures < 10 else { throw error }
                logger.warning("positions cannot be read yet", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(300))
            }
        }
    }

    private func revoked(_ revocation: Revocation) async {
        let partitions = owned
        for partition in partitions { partition.suspend() }
        // What was decided is still ours: the next owner has to find it in the log.
        if !(await producer.flush(deadline: configuration.kafka.drainBound)) {
            logger.warning("not everything was written before the partitions were handed over")
        }
        await commit(partitions, deadline: configuration.kafka.drainBound)
        end()
        await revocation.accept()
        logger.info("revoked", metadata: ["partitions": "\(partitions.map(\.number))"])
    }

    private func lost(_ revocation: Revocation) async {
        let partitions = owned
        for partition in partitions { partition.suspend() }
        end()
        writer.dropRetries(of: partitions)
        // Others have read on and written meanwhile: what we hold is worth nothing.
        state.withLock { $0.partitions = [:] }
        await revocation.accept()
        logger.warning("lost", metadata: ["partitions": "\(partitions.map(\.number))"])
    }

    private func end() {
        state.withLock {
            $0.isAssigned = false
            $0.committedAt = nil
            $0.refusal = nil
        }
        showReadiness()
    }
}
