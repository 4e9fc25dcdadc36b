public import KafkaClient
public import Logging
import Synchronization
import Wire

/// Reads topics as a member of a group, for roles whose records are done one by one: a ``ReadPartition`` per partition,
/// a bound over all of them, commits of what is done.
///
/// A revocation is answered after a drain of at most `handOverBound` and a commit; a loss without either. Once stopped
/// it drains for at most `kafka.drainBound`, commits and leaves the group. A record that was not committed is read again by the next owner, so that
/// doing it twice must change nothing: there is no ``CommitFence`` here.
public final class GroupReader: Sendable {
    /// What is to be done with a record: any number of works, and the record is done when each of them is. Called in
    /// the order of a partition's offsets, and the next record of the partition is read when it has returned. Nil: its
    /// task was cancelled first.
    public typealias Handler = @Sendable (ConsumedRecord) async -> [RecordWork]?

    /// Where the reader shows how it stands, for gauges.
    public struct Gauges: Sendable {
        let inFlight: @Sendable (Int) -> Void
        let lag: @Sendable (Int64) -> Void

        /// - Parameters:
        ///   - inFlight: gets the records under way, at each commit.
        ///   - lag: gets the records from what is done to the ends, once a second.
        public init(inFlight: @escaping @Sendable (Int) -> Void, lag: @escaping @Sendable (Int64) -> Void) {
            self.inFlight = inFlight
            self.lag = lag
        }
    }

    private let topics: [String]
    private let groupID: String
    private let kafka: KafkaConfiguration
    private let slots: Slots
    private let commitEvery: Duration
    private let handOverBound: Duration
    private let logger: Logger
    private let gauges: Gauges
    private let handler: Handler
    private let holds: KeyHolds?
    private let mostWaiting: Int
    private let companion: (any AssignmentCompanion)?
    private let partitions = Mutex<[ReadPartition]>([])
    private let stopped = Latch()

    /// - Parameters:
    ///   - maxInFlight: records under way at once, over all partitions.
    ///   - mostWaiting: records of one partition that wait for others before them. Behind that number the partition is
    ///     not read, so that they take no slots from other partitions.
    ///   - handOverBound: longest wait for what is under way when the group shares its partitions anew. Nil, and at
    ///     most: ``KafkaConfiguration/drainBound``, which is also the longest wait when this member leaves.
    ///   - holds: of topics whose records are signed.
    ///   - companion: what else the role does for the partitions that it owns.
    public init(
        topics: [String], groupID: String, kafka: KafkaConfiguration, maxInFlight: Int, mostWaiting: Int = 16,
        commitEvery: Duration, handOverBound: Duration? = nil, holds: KeyHolds? = nil,
        companion: (any AssignmentCompanion)? = nil, logger: Logger, gauges: Gauges, handler: @escaping Handler
    ) {
        self.topics = topics
        self.groupID = groupID
        self.kafka = kafka
        self.commitEvery = commitEvery
        self.handOverBound = min(handOverBound ?? kafka.drainBound, kafka.drainBound)
        slots = Slots(maxInFlight)
        self.gauges = gauges
        self.logger = logger
        self.handler = handler
        self.holds = holds
        self.mostWaiting = mostWaiting
        self.companion = companion
    }

    /// Leave the group after draining; ``run()`` then returns.
    public func stop() { stopped.open() }

    /// Until ``stop()``; cancelling does the same. A handle that librdkafka declares dead is replaced after a second.
    public func run() async {
        await withTaskCancellationHandler {
            // Not a child: a cancelled member would leave its last revocation unanswered and its handle open. `stop`
            // ends it, within the drain bound and the deadline of the close.
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
                logger.error("the topics cannot be read", metadata: ["error": "\(error)"])
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
                do {
                    try await event.answer(logger: logger) { assignment in
                        try await begin(assignment, consumer, &group)
                    } end: { reason in
                        await handOver(reason, consumer)
                    }
                } catch {
                    logger.error("the consumer is replaced", metadata: ["error": "\(error)"])
                    broken.open()
                }
            }
            await handOver(.lost, consumer)
            group.cancelAll()
        }
    }

    private func begin(
        _ assignment: Assignment, _ consumer: KafkaConsumer, _ group: inout DiscardingTaskGroup
    ) async throws(KafkaError) {
        var backoff = Backoff()
        while let companion, await !companion.prepare() {
            // Revoked meanwhile, or stopped: nothing was read, and nothing is to be handed over.
            guard !stopped.isOpen, assignment.isCurrent, await backoff.wait() else { return await assignment.refuse() }
        }
        let starts = assignment.rewritten.map { ($0, StartOffset.beginning) }
        let fresh = try await assignment.accept(from: Dictionary(uniqueKeysWithValues: starts)).values.map {
            ReadPartition(reader: $0, slots: self.slots, mostWaiting: self.mostWaiting, holds: self.holds)
        }
        partitions.withLock { $0 = fresh }
        if let work = companion?.begin(Set(fresh.map(\.topicPartition))) { group.addTask { await work() } }
        for partition in fresh { group.addTask { await partition.run(self.handler) } }
        logger.info(
            "partitions assigned",
            metadata: [
                "count": "\(fresh.count)", "partitions": "\(fresh.map(\.topicPartition.partition).sorted())",
            ])
        // The group's positions are of logs that are gone.
        let beginnings = assignment.rewritten.map { ($0, CommittedOffset(offset: 0)) }
        do {
            try await consumer.commit(Dictionary(uniqueKeysWithValues: beginnings), deadline: .seconds(5))
        } catch {
            // The commit of the first record that is done replaces the position; a role that ends before may skip
            // records.
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

    private func takePartitions() -> [ReadPartition] {
        partitions.withLock { partitions in
            defer { partitions = [] }
            return partitions
        }
    }

    /// Drains all partitions at once within the bound, commits what is done, gives the rest up. Lost partitions have
    /// another owner already: they are given up at once.
    private func handOver(_ reason: HandOver, _ consumer: KafkaConsumer) async {
        let leaving = takePartitions()
        let isLost = if case .lost = reason { true } else { false }
        // Every member of the group waits for the slowest hand-over. Only a member that leaves does not hold the others.
        let bound = stopped.isOpen ? kafka.drainBound : handOverBound
        await withDiscardingTaskGroup { group in
            if let companion {
                group.addTask { await companion.stop(within: isLost ? .zero : bound) }
            }
            for partition in leaving where !isLost {
                group.addTask { _ = await partition.drain(atMost: bound) }
            }
        }
        // Before the commit, so that nothing is done between what it says and the hand-over.
        for partition in leaving { partition.abandon() }
        guard !isLost else { return }
        // The position in a log that was made anew says nothing any more.
        await commit(
            leaving.filter { !reason.rewritten.contains($0.topicPartition) }, consumer, deadline: kafka.drainBound)
    }

    private func commitPeriodically(_ consumer: KafkaConsumer) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: commitEvery)
            let current = partitions.withLock { $0 }
            gauges.inFlight(current.reduce(0) { $0 + $1.inFlight })
            await commit(current, consumer)
        }
    }

    /// Beside the commits, which it must not hold up.
    private func measureLagPeriodically(_ consumer: KafkaConsumer) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            if let records = try? await measuredLag(consumer) { gauges.lag(records) }
        }
    }

    /// From what is done to the ends.
    private func measuredLag(_ consumer: KafkaConsumer) async throws -> Int64 {
        let current = partitions.withLock { $0 }
        guard !current.isEmpty else { return 0 }
        let ends = try await consumer.endOffsets(current.map(\.topicPartition), deadline: .seconds(1))
        var done: [TopicPartition: Int64] = [:]
        for partition in current { done[partition.topicPartition] = partition.done }
        // One that has read nothing stands where its group does.
        let idle = current.map(\.topicPartition).filter { done[$0] == nil }
        if !idle.isEmpty {
            for (partition, committed) in try await consumer.committed(idle, deadline: .seconds(1)) {
                done[partition] = committed?.offset
            }
        }
        return ends.reduce(0) { $0 + max(0, $1.value - (done[$1.key] ?? 0)) }
    }

    private func commit(
        _ partitions: [ReadPartition], _ consumer: KafkaConsumer, deadline: Duration = .seconds(5)
    ) async {
        var offsets: [TopicPartition: CommittedOffset] = [:]
        for partition in partitions {
            if let offset = partition.committable {
                offsets[partition.topicPartition] = CommittedOffset(offset: offset)
            }
        }
        guard !offsets.isEmpty else { return }
        do {
            try await consumer.commit(offsets, deadline: deadline)
            for partition in partitions {
                if let offset = offsets[partition.topicPartition] { partition.committed(offset.offset) }
            }
        } catch {
            // Normal inside a rebalance: the next commit says more, and a record read again makes nothing new.
            logger.debug("a commit was refused", metadata: ["error": "\(error)"])
        }
    }
}
