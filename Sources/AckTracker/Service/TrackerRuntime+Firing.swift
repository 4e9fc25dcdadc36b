import ChallengeModel
import CoreMetrics
import KafkaClient
import Logging
import ServiceSupport
import Synchronization

extension TrackerRuntime {
    /// The ticker: collects what is due, has the ends of its topics asked for, and writes what is due once everything up to
    /// these ends was read.
    func tick() async {
        await withDiscardingTaskGroup { group in
            var last = ContinuousClock.now
            while !Task.isCancelled {
                try? await Task.sleep(for: configuration.tick)
                let now = ContinuousClock.now
                // The process stood still: what was asked before is too old to act on.
                if now - last > .milliseconds(500) + configuration.tick {
                    for partition in owned { partition.liftBarrier() }
                }
                last = now
                let waiting = collect()
                if !waiting.isEmpty, isFenceOpen, !isAsking.load(ordering: .acquiring) {
                    // Only now, so that the ends are asked for after everything in the barrier came due.
                    let raised = waiting.filter { $0.raiseBarrier() }
                    isAsking.store(true, ordering: .releasing)
                    group.addTask {
                        await self.askEnds(of: raised)
                        self.isAsking.store(false, ordering: .releasing)
                    }
                }
                fire()
                writer.retry()
            }
            group.cancelAll()
        }
    }

    /// Advances the wheels.
    /// - Returns: the partitions in which something waits for a barrier.
    private func collect() -> [TrackedPartition] {
        let latencies = state.withLock { state -> [LatencyModel.Key: UInt32]? in
            guard state.latenciesChanged else { return nil }
            state.latenciesChanged = false
            return state.latencies.expected
        }
        let now = clock.now()
        return owned.filter { $0.collect(at: now, latencies: latencies) }
    }

    /// One batched query; when it fails one per partition, so that a partition without a leader holds up no other.
    private func askEnds(of partitions: [TrackedPartition]) async {
        if await ask(partitions) { return }
        guard partitions.count > 1 else { return }
        await withDiscardingTaskGroup { group in
            for partition in partitions { group.addTask { _ = await self.ask([partition], isLast: true) } }
        }
    }

    private func ask(_ partitions: [TrackedPartition], isLast: Bool = false) async -> Bool {
        let wanted = partitions.flatMap { topicPartitions(of: $0, topics: Positions.facts) }
        do {
            // The deadline keeps an answer from being older than the fence allows.
            let deadline = min(configuration.requestDeadline, configuration.kafka.sessionTimeout / 2)
            let found = try await consumer.endOffsets(wanted, deadline: deadline)
            for partition in partitions {
                var ends = Positions()
                for (topic, key) in zip(Positions.facts, topicPartitions(of: partition, topics: Positions.facts)) {
                    guard let end = found[key] else { return failed(partitions, isLast) }
                    ends[topic] = end
                }
                partition.setEnds(ends)
            }
            return true
        } catch {
            logger.debug("the ends of the topics are not known", metadata: ["error": "\(error)"])
            return failed(partitions, isLast)
        }
    }

    private func failed(_ partitions: [TrackedPartition], _ isLast: Bool) -> Bool {
        if isLast || partitions.count == 1 { for partition in partitions { partition.setEnds(nil) } }
        return false
    }

    private func fire() {
        for partition in owned {
            guard isFenceOpen else {
                partition.liftBarrier()
                continue
            }
            for firing in partition.fire(at: clock.now()) { writer.write(firing, of: partition) }
        }
    }
}
