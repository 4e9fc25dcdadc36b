import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization

extension TrackerRuntime {
    /// Reads one partition of the four topics until it is handed over: `challenges` to its end first, so that the facts
    /// of the others find their challenge, then all four side by side.
    func read(_ partition: TrackedPartition, _ readers: [PartitionReader]) async {
        while !partition.hasReadChallenges {
            guard await readBatch(partition, readers[0], topic: 0) else { return }
        }
        await withDiscardingTaskGroup { group in
            for topic in Positions.indices {
                group.addTask {
                    while await self.readBatch(partition, readers[topic], topic: topic) {}
                }
            }
        }
    }

    /// - Returns: false when the partition was handed over.
    private func readBatch(_ partition: TrackedPartition, _ reader: PartitionReader, topic: Int) async -> Bool {
        // Too many consequences of reading are unacknowledged, so reading waits. The wait ends with the broker's
        // answers, the end of the assignment, or refusals, because events that cannot be written must not stop
        // redelivery.
        while partition.outstanding >= configuration.maxOutstandingWrites, !partition.isSilent {
            guard owned.contains(where: { $0 === partition }) else { return false }
            if writer.isFailing(partition) {
                fallSilent(partition)
                break
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
        guard let items = await reader.next(max: configuration.batchSize) else { return false }
        var read: [TrackedPartition.Item] = []
        read.reserveCapacity(items.count)
        for item in items {
            switch item {
            case .endOfPartition(let offset): read.append(.end(offset))
            case .record(let record):
                if holds.mustWait(before: record) {
                    // Items before this record are folded and may be committed while it waits.
                    absorb(topic, read, of: partition)
                    read = []
                    guard await isReleased(record, reader) else { return false }
                }
                // The numbers of partitions must be confirmed after the record was read. Otherwise a record could be
                // moved back and forth for ever.
                if self.reader.intake.isMisplaced(record) {
                    guard await isConfirmed(since: .now, reader) else { return false }
                }
                let (item, refusal) = self.reader.read(record, topic: topic)
                read.append(item)
                if let refusal {
                    metrics.refused(topic: Topic.copartitioned[topic].rawValue, reason: refusal)
                    refusals.warning(
                        "a record is refused",
                        metadata: .trace(
                            of: record.headers,
                            [
                                "topic": "\(record.topicPartition.topic)",
                                "partition": "\(record.topicPartition.partition)",
                                "offset": "\(record.offset)", "reason": "\(refusal.rawValue)",
                            ]))
                }
            }
        }
        absorb(topic, read, of: partition)
        // During a replay, batches follow each other without a real wait, so other tasks of the pool get a turn here.
        await Task.yield()
        return true
    }

    /// Waits until the record is no longer held.
    /// - Returns: false when the partition was handed over first.
    private func isReleased(_ record: ConsumedRecord, _ reader: PartitionReader) async -> Bool {
        while holds.mustWait(before: record) {
            try? await Task.sleep(for: .milliseconds(200))
            guard reader.available(max: 0) != nil, !Task.isCancelled else {
                holds.end(record.topicPartition)
                return false
            }
        }
        return true
    }

    /// Waits until a query after `instant` has confirmed the numbers of partitions.
    /// - Returns: false when the partition was handed over first.
    private func isConfirmed(since instant: ContinuousClock.Instant, _ reader: PartitionReader) async -> Bool {
        while !topics.isConfirmed(since: instant) {
            try? await Task.sleep(for: .milliseconds(100))
            guard reader.available(max: 0) != nil, !Task.isCancelled else { return false }
        }
        return true
    }

    private func absorb(_ topic: Int, _ read: [TrackedPartition.Item], of partition: TrackedPartition) {
        let now = clock.now()
        let consequences = partition.absorb(topic, read, at: now)
        writer.write(consequences, of: partition)
        learn(consequences)
        if consequences.hasCaughtUp {
            let tookMs = partition.catchUpMs(at: now)
            metrics.catchUp.recordMilliseconds(tookMs)
            logger.info(
                "a partition has caught up", metadata: ["partition": "\(partition.number)", "ms": "\(tookMs)"])
            showReadiness()
        }
    }

    private func fallSilent(_ partition: TrackedPartition) {
        guard partition.fallSilent() else { return }
        writer.keepProbe(of: partition)
        logger.error(
            "events and dead letters cannot be written: they are left until they can be written; redelivery continues",
            metadata: ["partition": "\(partition.number)", "untold": "\(partition.outstanding)"])
        showReadiness()
    }

    private func learn(_ consequences: TrackedPartition.Consequences) {
        for case (_, .latency(let key, let latencyMs)) in consequences.news {
            state.withLock {
                $0.latencies.record(key, latencyMs: latencyMs)
                $0.latenciesChanged = true
            }
        }
    }

    func showReadiness() {
        // The lock covers reading and reporting. Otherwise, of two partitions that catch up at the same time, the one
        // that reads first could report last, and its "catching up" would stay.
        showing.withLock { _ in
            let silent = owned.filter(\.isSilent).map { String($0.number) }
            if silent.isEmpty {
                readiness.pass(TrackerService.Check.events)
            } else {
                readiness.fail(
                    TrackerService.Check.events,
                    "events or dead letters cannot be written; no events are emitted for partitions "
                        + silent.joined(separator: ", "))
            }
            let catchingUp = owned.filter { !$0.isLive }.map { String($0.number) }
            if !state.withLock({ $0.isAssigned }) {
                readiness.fail(TrackerService.Check.partitions, "no assignment")
            } else if catchingUp.isEmpty {
                readiness.pass(TrackerService.Check.partitions)
            } else {
                readiness.fail(
                    TrackerService.Check.partitions, "catching up: \(catchingUp.joined(separator: ", "))")
            }
        }
    }
}
