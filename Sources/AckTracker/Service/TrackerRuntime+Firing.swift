import ChallengeModel
import CoreMetrics
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization

extension TrackerRuntime {
    /// The ticker. It collects due challenges, has the ends of their topics queried, and writes the due records when
    /// everything up to these ends was read.
    func tick() async {
        await withDiscardingTaskGroup { group in
            var last = ContinuousClock.now
            while !Task.isCancelled {
                try? await Task.sleep(for: configuration.tick)
                let now = ContinuousClock.now
                // The process was suspended, so earlier answers are too old to act on.
                if now - last > .milliseconds(500) + configuration.tick {
                    for partition in owned { partition.liftBarrier() }
                }
                last = now
                let waiting = collect()
                if !waiting.isEmpty, mayFire {
                    let partitions = Dictionary(uniqueKeysWithValues: waiting.map { ($0.number, $0) })
                    for question in ends.questions(for: waiting.map(\.number)) {
                        // The barrier is raised only now, so that the ends are queried after everything behind it
                        // became due. A partition without a barrier, because it is being handed over, ignores the
                        // answer.
                        for number in question { _ = partitions[number]?.raiseBarrier() }
                        group.addTask { await self.askEnds(question, of: partitions) }
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

    private func askEnds(_ question: [Int32], of partitions: [Int32: TrackedPartition]) async {
        // The deadline ensures that an answer is not older than the fence allows.
        let longest = min(configuration.requestDeadline, fence.freshFor)
        await ends.ask(question, together: min(longest, .seconds(1)), alone: longest) { number in
            partitions[number].map { self.topicPartitions(of: $0, topics: Positions.facts) } ?? []
        } answered: { answer in
            guard let partition = partitions[answer.number] else { return }
            partition.setEnds(answer.ends.flatMap { self.positions(of: partition, at: $0) })
        }
    }

    private func positions(of partition: TrackedPartition, at found: [TopicPartition: Int64]) -> Positions? {
        var ends = Positions()
        for (topic, key) in zip(Positions.facts, topicPartitions(of: partition, topics: Positions.facts)) {
            guard let end = found[key] else { return nil }
            ends[topic] = end
        }
        return ends
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
