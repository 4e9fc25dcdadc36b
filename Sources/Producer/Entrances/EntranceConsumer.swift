import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import Metrics
import Synchronization

/// Reads topics, mostly one entrance, as a member of a group: a lane per partition, a bound over all of them, commits of what is done.
///
/// A revocation is answered after a drain of at most `kafka.drainBound` and a commit; a loss without either. Once stopped it leaves the
/// group the same way.
final class EntranceConsumer: Sendable {
    /// What is to be done with a record; called in the order of offsets.
    typealias Handler = @Sendable (ConsumedRecord) -> EntranceWork

    private let name: String
    private let topics: [String]
    private let groupID: String
    private let kafka: KafkaConfiguration
    private let slots: Slots
    private let commitEvery: Duration
    private let logger: Logger
    private let inFlight: Gauge
    private let lag: Gauge
    private let handler: Handler
    private let holds: KeyHolds?
    private let lanes = Mutex<[EntranceLane]>([])
    private let stopped = Latch()

    /// - Parameters:
    ///   - name: for metrics and logs.
    ///   - maxInFlight: records under way at once, over all partitions.
    ///   - holds: of topics whose records are signed.
    init(
        name: String, topics: [String], groupID: String, kafka: KafkaConfiguration, maxInFlight: Int,
        commitEvery: Duration, holds: KeyHolds? = nil, logger: Logger, metrics: ProducerMetrics,
        handler: @escaping Handler
    ) {
        self.name = name
        self.topics = topics
        self.groupID = groupID
        self.kafka = kafka
        self.commitEvery = commitEvery
        slots = Slots(maxInFlight)
        inFlight = metrics.inFlightGauge(entrance: name)
        lag = metrics.lagGauge(entrance: name)
        var logger = logger
        logger[metadataKey: "entrance"] = "\(name)"
        self.logger = logger
        self.handler = handler
        self.holds = holds
    }

    /// Leave the group after draining; ``run()`` then returns.
    func stop() { stopped.open() }

    /// Until ``stop()``; cancelling does the same. A handle that librdkafka declares dead is replaced after a second.
    func run() async {
        await withTaskCancellationHandler {
            // Not a child: a cancelled member would leave its last revocation unanswered and its handle open. `stop` ends it,
            // within the drain bound and the deadline of the close.
            await Task { await self.serveUntilStopped() }.value
        } onCancel: {
            stop()
        }
    }

    private func serveUntilStopped() async {
        while !stopped.isOpen {
            do {
                let consumer = try KafkaConsumer(
                    configuration: kafka, groupID: groupID, topics: topics, logger: logger)
                await serve(consumer)
            } catch {
                logger.error("the entrance cannot be read", metadata: ["error": "\(error)"])
            }
            if !stopped.isOpen { _ = await stopped.wait(atMost: .seconds(1)) }
        }
    }

    /// One handle from its first assignment to its end.
    private func serve(_ consumer: KafkaConsumer) async {
        let broken = Latch()
        await withDiscardingTaskGroup { group in
            group.addTask {
                await self.closeWhenOver(consumer, broken: broken)
            }
            group.addTask { await self.commitPeriodically(consumer) }
            group.addTask { await consumer.watchLogs() }
            group.addTask { await self.measureLagPeriodically(consumer) }
            for await event in consumer.events {
                switch event {
                case .assigned(let assignment):
                    do { try await begin(assignment, consumer, &group) } catch {
                        logger.error("an assignment failed", metadata: ["error": "\(error)"])
                        broken.open()
                    }
                case .rewritten(let assignment):
                    guard assignment.isCurrent else { break }
                    logger.error(
                        "topics were made anew, or cut: these partitions are read from their start",
                        metadata: ["partitions": "\(assignment.rewritten.sorted())"])
                    await handOver(consumer, rewritten: assignment.rewritten)
                    do { try await begin(assignment, consumer, &group) } catch {
                        logger.error("partitions could not be read anew", metadata: ["error": "\(error)"])
                        broken.open()
                    }
                case .revoked(let revocation):
                    await handOver(consumer)
                    await revocation.accept()
                case .lost(let revocation):
                    for lane in takeLanes() {
                        lane.stop()
                        lane.abandon()
                    }
                    await revocation.accept()
                case .fault(let error):
                    logger.warning("kafka", metadata: ["error": "\(error)"])
                    if error.isFatal { broken.open() }
                }
            }
            for lane in takeLanes() {
                lane.stop()
                lane.abandon()
            }
            group.cancelAll()
        }
    }

    private func begin(
        _ assignment: Assignment, _ consumer: KafkaConsumer, _ group: inout DiscardingTaskGroup
    ) async throws(KafkaError) {
        let starts = assignment.rewritten.map { ($0, StartOffset.beginning) }
        let fresh = try await assignment.accept(from: Dictionary(uniqueKeysWithValues: starts)).values.map {
            EntranceLane(reader: $0, slots: self.slots, holds: self.holds)
        }
        lanes.withLock { $0 = fresh }
        for lane in fresh { group.addTask { await lane.run(self.handler) } }
        logger.info("partitions assigned", metadata: ["count": "\(fresh.count)"])
        // The group's positions are of logs that are gone.
        let beginnings = assignment.rewritten.map { ($0, CommittedOffset(offset: 0)) }
        do {
            try await consumer.commit(Dictionary(uniqueKeysWithValues: beginnings), deadline: .seconds(5))
        } catch {
            // The commit of the first record that is done replaces the position; a role that ends before may skip records.
            logger.error(
                "the position in a log that was made anew is not committed yet", metadata: ["error": "\(error)"])
        }
    }

    private func closeWhenOver(_ consumer: KafkaConsumer, broken: Latch) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.stopped.wait() }
            group.addTask { await broken.wait() }
            await group.next()
            group.cancelAll()
        }
        await consumer.close(deadline: kafka.drainBound + .seconds(8))
    }

    private func takeLanes() -> [EntranceLane] {
        lanes.withLock { lanes in
            defer { lanes = [] }
            return lanes
        }
    }

    /// Drains all lanes at once within the bound, commits what is done, gives the rest up.
    /// - Parameter rewritten: their positions say nothing any more, and are not committed.
    private func handOver(_ consumer: KafkaConsumer, rewritten: Set<TopicPartition> = []) async {
        let leaving = takeLanes()
        await withDiscardingTaskGroup { group in
            for lane in leaving { group.addTask { _ = await lane.drain(atMost: self.kafka.drainBound) } }
        }
        // Before the commit, so that nothing is done between what it says and the hand-over.
        for lane in leaving { lane.abandon() }
        await commit(leaving.filter { !rewritten.contains($0.topicPartition) }, consumer)
    }

    private func commitPeriodically(_ consumer: KafkaConsumer) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: commitEvery)
            let current = lanes.withLock { $0 }
            inFlight.record(current.reduce(0) { $0 + $1.inFlight })
            await commit(current, consumer)
        }
    }

    /// Beside the commits, which it must not hold up.
    private func measureLagPeriodically(_ consumer: KafkaConsumer) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            if let records = try? await measuredLag(consumer) { lag.record(records) }
        }
    }

    /// From what is done to the ends.
    private func measuredLag(_ consumer: KafkaConsumer) async throws -> Int64 {
        let current = lanes.withLock { $0 }
        guard !current.isEmpty else { return 0 }
        let ends = try await consumer.endOffsets(current.map(\.topicPartition), deadline: .seconds(1))
        var done: [TopicPartition: Int64] = [:]
        for lane in current { done[lane.topicPartition] = lane.done }
        // One that has read nothing stands where its group does.
        let idle = current.map(\.topicPartition).filter { done[$0] == nil }
        if !idle.isEmpty {
            for (partition, committed) in try await consumer.committed(idle, deadline: .seconds(1)) {
                done[partition] = committed?.offset
            }
        }
        return ends.reduce(0) { $0 + max(0, $1.value - (done[$1.key] ?? 0)) }
    }

    private func commit(_ lanes: [EntranceLane], _ consumer: KafkaConsumer) async {
        var offsets: [TopicPartition: CommittedOffset] = [:]
        for lane in lanes {
            if let offset = lane.committable { offsets[lane.topicPartition] = CommittedOffset(offset: offset) }
        }
        guard !offsets.isEmpty else { return }
        do {
            try await consumer.commit(offsets, deadline: .seconds(5))
            for lane in lanes {
                if let offset = offsets[lane.topicPartition] { lane.committed(offset.offset) }
            }
        } catch {
            // Normal inside a rebalance: the next commit says more, and a record read again makes nothing new.
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
        }
    }
}
