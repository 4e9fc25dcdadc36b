import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import ServiceSupport
import Synchronization

/// The control loop: start, rebalances, commits, stop.
extension DispatcherService {
    typealias Tasks = ThrowingDiscardingTaskGroup<any Error>

    /// What the loop remembers. Local to its task.
    struct Control {
        var partitions = 0
        let intake: ChallengeIntake
        var nextCommitMs: Int64 = 0
        /// Lanes of partitions that were handed over, in case they come back.
        var parked: [Int32: (state: LaneState, writer: String)] = [:]
        var laneNumber = 0
        /// Partition numbers of which we do not own all four topics.
        var incomplete: [Int32] = []
        var isAssigned = false
    }

    func control(_ tasks: inout Tasks) async throws {
        let count = await self.topics.agreement(every: .milliseconds(100)) {
            touch()
            return !isStopping
        }
        guard let partitions = count else { return }
        let follower = ConfigurationFollower(
            configuration: configuration, changed: configurationChanged, signer: signer, sender: sender,
            readiness: readiness, metrics: metrics,
            logger: logger
        ) {
            self.mailbox.withLock { $0.isConfigurationRead = true }
            self.signal.fire()
        }
        tasks.addTask { try await follower.run() }
        tasks.addTask { await self.topics.run() }
        guard await isConfigurationRead() else { return }
        readiness.pass(Check.configuration)

        let topics = Topic.copartitioned.map { configuration.topics[$0] }
        let consumer = try KafkaConsumer(
            configuration: configuration.consumerKafka, groupID: configuration.groupID, topics: topics, logger: logger)
        self.consumer.withLock { $0 = consumer }
        tasks.addTask { await self.collect(consumer) }
        tasks.addTask { await self.askForEnds(consumer) }
        tasks.addTask { await consumer.watchLogs() }

        var control = Control(
            partitions: partitions,
            intake: ChallengeIntake(records: RecordIntake(signer: signer, partitions: partitions)))
        while await signal.wait() {
            touch()
            let (events, hasEnded, isStopping) = mailbox.withLock { mailbox in
                defer { mailbox.events = [] }
                return (mailbox.events, mailbox.hasEnded, mailbox.isStopping)
            }
            for event in events {
                try await answer(event, consumer, &control, &tasks)
                touch()
            }
            if isStopping { return try await stop(consumer, &control, &tasks) }
            if hasEnded { throw DispatcherError.consumerEnded }
            if mailbox.withLock({ $0.takeCommitDue() }) { control.nextCommitMs = 0 }
            commitIfDue(consumer, &control, &tasks)
            showReadiness(control)
        }
    }

    // MARK: - Start

    private func isConfigurationRead() async -> Bool {
        while !mailbox.withLock({ $0.isConfigurationRead }) {
            touch()
            readiness.fail(Check.configuration, "\(configuration.topics[.configuration]) is not read to its end yet")
            guard !isStopping, await signal.wait() else { return false }
        }
        return true
    }

    var isStopping: Bool { mailbox.withLock { $0.isStopping } }

    /// Hands the consumer's events to the loop.
    private func collect(_ consumer: KafkaConsumer) async {
        for await event in consumer.events {
            mailbox.withLock { $0.events.append(event) }
            signal.fire()
        }
        mailbox.withLock { $0.hasEnded = true }
        signal.fire()
    }

    // MARK: - Stop

    private func stop(_ consumer: KafkaConsumer, _ control: inout Control, _ tasks: inout Tasks) async throws {
        readiness.fail(Check.partitions, "stopping")
        await handOver(.revoked, consumer, &control)
        _ = await producer.flush(deadline: configuration.flushBound)
        tasks.addTask { await consumer.close(deadline: .seconds(5)) }
        // The group is left with a last revocation, which must be answered.
        let until = Moment.now().steadyMs + 5000
        while Moment.now().steadyMs < until, await signal.wait() {
            touch()
            let (events, hasEnded) = mailbox.withLock { mailbox in
                defer { mailbox.events = [] }
                return (mailbox.events, mailbox.hasEnded)
            }
            for event in events {
                switch event {
                case .revoked(let revocation), .lost(let revocation): await revocation.accept()
                case .assigned(let assignment): await assignment.refuse()
                case .rewritten: break
                case .fault: break
                }
            }
            if hasEnded { return }
        }
    }

    private func showReadiness(_ control: Control) {
        if !control.incomplete.isEmpty {
            readiness.fail(
                Check.partitions,
                "partitions \(control.incomplete) are not served: this dispatcher does not have all four topics of each"
            )
        } else if !control.isAssigned {
            readiness.fail(Check.partitions, "no partitions are assigned yet")
        } else if let lane = lanes.withLock({ $0.values.first { !$0.status.isServing } }) {
            readiness.fail(Check.partitions, "partition \(lane.partition) is reading its facts")
        } else {
            readiness.pass(Check.partitions)
        }
    }
}
