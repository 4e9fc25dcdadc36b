import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization
import Wire

/// Rebalances: lanes begin and end.
extension DispatcherService {
    func answer(
        _ event: ConsumerEvent, _ consumer: KafkaConsumer, _ control: inout Control, _ tasks: inout Tasks
    ) async throws {
        if let change = event.membershipChange { metrics.count(.rebalances, [("kind", change)]) }
        do {
            try await event.answer(logger: logger) { assignment in
                try await begin(assignment, consumer, &control, &tasks)
            } end: { reason in
                if case .rewritten(let partitions) = reason { metrics.count(.logsCut, by: partitions.count) }
                await handOver(reason, consumer, &control)
            }
        } catch let error as KafkaError {
            throw DispatcherError.kafka(error)
        }
    }

    private func begin(
        _ assignment: Assignment, _ consumer: KafkaConsumer, _ control: inout Control, _ tasks: inout Tasks
    ) async throws {
        fence.shut()
        let owned = Set(assignment.partitions)
        let numbers = Set(assignment.partitions.map(\.partition)).sorted()
        let complete = numbers.filter { number in
            Topic.copartitioned.allSatisfy { owned.contains(partition($0, number)) }
        }
        control.incomplete = numbers.filter { !complete.contains($0) }
        let positions = complete.map { partition(.challenges, $0) }
        let committed = try? await consumer.committed(positions, deadline: .seconds(5), logger: logger) { _ in
            touch()
            return !isStopping && !Task.isCancelled
        }
        guard let committed else { return await assignment.refuse() }

        var states: [(state: LaneState, writer: String)] = []
        let doneBytes = configuration.doneSetBytes / max(1, complete.count)
        let factBytes = configuration.factBytes / max(1, complete.count)
        for number in complete {
            let rewritten = Set(Topic.copartitioned.filter { assignment.rewritten.contains(partition($0, number)) })
            let commit = rewritten.contains(.challenges) ? nil : committed[partition(.challenges, number)] ?? nil
            if var parked = control.parked[number] {
                parked.state.startOver(rewritten)
                parked.state.resume(committed: commit?.offset)
                parked.state.limit(doneBytes: doneBytes, factBytes: factBytes)
                states.append(parked)
            } else {
                control.laneNumber += 1
                var state = LaneState(
                    partition: number, start: LaneStart(committed: commit, nowMs: Moment.now().epochMs),
                    builder: PushBuilder(recordKeys: configuration.recordKeys),
                    quickRetry: QuickRetry(
                        withinMs: configuration.quickRetryWithin.wholeMilliseconds,
                        leftMs: configuration.quickRetryLeft.wholeMilliseconds),
                    facts: LaneFacts(doneBytes: doneBytes, factBytes: factBytes))
                // The committed positions belong to the former logs.
                state.startOver(rewritten)
                states.append((state, "\(instance)-\(control.laneNumber)"))
            }
        }
        control.parked = [:]

        // When a position no longer exists, or is an unused 0, Kafka reports it and reading begins at the first
        // available record. This needs no query in advance for each partition.
        var starts: [TopicPartition: StartOffset] = [:]
        for (state, _) in states {
            starts[partition(.challenges, state.partition)] = .at(state.ledger.next)
            starts[partition(.outcomes, state.partition)] = .at(state.outcomes)
            starts[partition(.receipts, state.partition)] = .at(state.receipts)
            starts[partition(.resolutions, state.partition)] = .at(state.resolutions)
        }
        let readers = try await accept(assignment, from: starts)
        let environment = LaneEnvironment(
            sender: sender, producer: producer, intake: control.intake, holds: holds, topics: topics, clock: clock,
            names: configuration.topics, metrics: metrics,
            window: window, fence: fence, permit: CommitPermit(fence: fence), beat: beat, logger: logger,
            maxPushes: configuration.maxPushesPerLane,
            maxBytes: configuration.maxBytesPerLane, tracer: configuration.tracer, group: configuration.groupID)
        for (state, writer) in states {
            guard let challenges = readers[partition(.challenges, state.partition)],
                let outcomes = readers[partition(.outcomes, state.partition)],
                let receipts = readers[partition(.receipts, state.partition)],
                let resolutions = readers[partition(.resolutions, state.partition)]
            else { continue }
            let lane = Lane(
                state: state, writer: writer,
                readers: LaneReaders(
                    challenges: challenges, outcomes: outcomes, receipts: receipts, resolutions: resolutions),
                environment: environment)
            lanes.withLock { $0[state.partition] = lane }
            tasks.addTask { await lane.run() }
            lane.tick()
        }
        control.isAssigned = true
        control.nextCommitMs = 0
        logger.info("partitions assigned", metadata: ["partitions": "\(complete)"])
    }

    func partition(_ topic: Topic, _ number: Int32) -> TopicPartition {
        TopicPartition(topic: configuration.topics[topic], partition: number)
    }

    /// Tries a few times: without an answer to the assignment, this worker would be a member that serves nothing.
    private func accept(
        _ assignment: Assignment, from starts: [TopicPartition: StartOffset]
    ) async throws -> [TopicPartition: PartitionReader] {
        var attempts = 0
        while true {
            touch()
            do { return try await assignment.accept(from: starts) } catch {
                attempts += 1
                logger.error("an assignment could not be taken", metadata: ["error": "\(error)"])
                guard attempts < 3, !error.isFatal else { throw DispatcherError.kafka(error) }
            }
        }
    }

    /// Ends all lanes: waits for pushes in flight, records the rest as unknown, and commits unless the partitions are
    /// already lost. Lanes are parked for a return, unless they are lost.
    func handOver(_ reason: HandOver, _ consumer: KafkaConsumer, _ control: inout Control) async {
        let isLost = if case .lost = reason { true } else { false }
        let lanes = lanes.withLock { Array($0.values) }
        control.isAssigned = false
        guard !lanes.isEmpty else { return }
        // Nothing more is sent for partitions that already belong to another member.
        if isLost { fence.shut() }
        let now = Moment.now().steadyMs
        let pushesUntil = now + configuration.drainBound.wholeMilliseconds
        for lane in lanes {
            lane.drain(
                pushesUntilMs: pushesUntil, writesUntilMs: pushesUntil + configuration.flushBound.wholeMilliseconds)
        }
        var commits: [TopicPartition: CommittedOffset] = [:]
        for lane in lanes {
            let state = await lane.drained()
            let challenges = partition(.challenges, lane.partition)
            if !reason.rewritten.contains(challenges) { commits[challenges] = lane.status.commit }
            if !isLost, let state { control.parked[lane.partition] = (state, lane.writer) }
            touch()
        }
        self.lanes.withLock { $0 = [:] }
        guard !isLost else { return }
        // Pushes that were not sent when the time limit passed are not sent any more.
        fence.shut()
        await commit(commits, consumer, term: fence.term, deadline: .seconds(1))
        fence.shut()
    }
}
