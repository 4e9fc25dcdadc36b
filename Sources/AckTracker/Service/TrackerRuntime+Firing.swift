import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
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
                if !waiting.isEmpty, mayFire {
                    for question in asking.withLock({ $0.questions(for: waiting.map(\.number)) }) {
                        let asked = waiting.filter { question.contains($0.number) }
                        // Only now, so that the ends are asked for after everything in the barrier came due.
                        let raised = asked.filter { $0.raiseBarrier() }
                        group.addTask {
                            await self.askEnds(of: raised)
                            self.asking.withLock { $0.answered(question) }
                        }
                    }
                }
                fire()
                writer.retry()
                showCommits()
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
        // The deadline keeps an answer from being older than the fence allows.
        let longest = min(configuration.requestDeadline, fence.freshFor)
        guard partitions.count > 1 else {
            if let partition = partitions.first { await ask(partition, deadline: longest) }
            return
        }
        if await ends(of: partitions, deadline: min(longest, .seconds(1))) { return }
        await withDiscardingTaskGroup { group in
            for partition in partitions { group.addTask { await self.ask(partition, deadline: longest) } }
        }
    }

    private func ask(_ partition: TrackedPartition, deadline: Duration) async {
        let isKnown = await ends(of: [partition], deadline: deadline)
        if !isKnown { partition.setEnds(nil) }
        asking.withLock { $0.note(partition.number, isAnswering: isKnown) }
    }

    private func ends(of partitions: [TrackedPartition], deadline: Duration) async -> Bool {
        let wanted = partitions.flatMap { topicPartitions(of: $0, topics: Positions.facts) }
        do {
            let found = try await consumer.endOffsets(wanted, deadline: deadline)
            var known: [(TrackedPartition, Positions)] = []
            for partition in partitions {
                var ends = Positions()
                for (topic, key) in zip(Positions.facts, topicPartitions(of: partition, topics: Positions.facts)) {
                    guard let end = found[key] else { return false }
                    ends[topic] = end
                }
                known.append((partition, ends))
            }
            for (partition, ends) in known { partition.setEnds(ends) }
            return true
        } catch {
            logger.debug("the ends of the topics are not known", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func fire() {
        for partition in owned {
            guard mayFire else {
                partition.liftBarrier()
                continue
            }
            for firing in partition.fire(at: clock.now()) { writer.write(firing, of: partition) }
        }
    }
}
