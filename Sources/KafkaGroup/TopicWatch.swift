public import ChallengeModel
public import KafkaClient
public import Logging
public import ServiceSupport
import Synchronization

/// Watches the topics of a role for as long as it runs: that they are there, and that the four keyed by challenge SID keep the
/// number of partitions with which the role began.
///
/// With another number a key belongs to another partition, so that the story of a challenge falls apart. From the first sight of
/// one nothing is pushed, relayed, fired or moved (``isSafe``) until the number is again what it was; what is under way waits where
/// it lies: in the outbox, on the log. A new number needs new processes.
public final class TopicWatch: Sendable {
    private struct State {
        /// Of the four topics; nil: they have never agreed.
        var partitions: Int?
        /// When the question was asked that last found them so.
        var confirmedAt: ContinuousClock.Instant?
        var missing: Set<Topic> = []
        var counts: [Topic: Int] = [:]
    }

    private let names: TopicNames
    private let topics: [Topic]
    private let producer: KafkaProducer
    private let readiness: Readiness
    private let check: String
    private let logger: Logger
    private let onChange: @Sendable (Topic) -> Void
    private let state = Mutex(State())
    private let mayWork = Atomic(true)
    /// Fired when somebody waits for a fresh look.
    private let wanted = ArrivalSignal()

    /// - Parameters:
    ///   - topics: the four and those that the role needs beside them.
    ///   - check: the readiness check that says what is wrong with them.
    ///   - onChange: a topic other than the four has another number of partitions, or is there again after it was missing.
    public init(
        names: TopicNames, topics: [Topic], producer: KafkaProducer, readiness: Readiness, check: String,
        logger: Logger, onChange: @escaping @Sendable (Topic) -> Void = { _ in }
    ) {
        self.names = names
        self.topics = topics
        self.producer = producer
        self.readiness = readiness
        self.check = check
        self.logger = logger
        self.onChange = onChange
    }

    /// Whether the work that depends on the number of partitions may go on.
    public var isSafe: Bool { mayWork.load(ordering: .acquiring) }

    /// Whether a question asked after `instant` has found the numbers as they must be. Asks soon when not, so ask again.
    public func isConfirmed(since instant: ContinuousClock.Instant) -> Bool {
        guard let confirmedAt = state.withLock({ $0.confirmedAt }), confirmedAt >= instant, isSafe else {
            wanted.fire()
            return false
        }
        return true
    }

    /// Looks once, and says in readiness what is wrong.
    /// - Returns: the number of partitions of each of the four, nil while they do not agree or Kafka does not say.
    public func look() async -> Int? {
        let askedAt = ContinuousClock.now
        var counts: [Topic: Int] = [:]
        var missing: Set<Topic> = []
        for topic in topics {
            do {
                counts[topic] = try await producer.partitionCount(of: names[topic], deadline: .seconds(2))
            } catch  where error.code == "UNKNOWN_TOPIC_OR_PART" {
                missing.insert(topic)
            } catch {
                // Nothing is known, so nothing has changed.
                guard state.withLock({ $0.partitions }) == nil else { return nil }
                readiness.fail(check, "Kafka does not answer for the topics: \(error)")
                return nil
            }
        }
        return judge(counts, missing, askedAt)
    }

    func judge(
        _ counts: [Topic: Int], _ missing: Set<Topic>, _ askedAt: ContinuousClock.Instant
    ) -> Int? {
        let four = Topic.copartitioned.compactMap { topic in counts[topic].map { (topic, $0) } }
        let found = four.map { "\(names[$0.0]): \($0.1)" }.joined(separator: ", ")
        let isOne = Set(four.map(\.1)).count <= 1
        let (complaint, isChanged, changed) = state.withLock { state -> (String?, Bool, [Topic]) in
            let changed = topics.filter { topic in
                guard !Topic.copartitioned.contains(topic), let count = counts[topic] else { return false }
                return state.missing.contains(topic) || state.counts[topic].map { $0 != count } ?? false
            }
            state.missing = missing
            state.counts.merge(counts) { $1 }
            if let began = state.partitions, !four.allSatisfy({ $0.1 == began }) {
                return (
                    "the number of partitions has changed from \(began): \(found). Work is held. Give the four topics one number, "
                        + "then stop every role and start them again", true, changed
                )
            }
            guard missing.isEmpty else {
                let list = missing.map { names[$0] }.sorted().joined(separator: ", ")
                return ("topics that do not exist: \(list)", false, changed)
            }
            guard isOne, let count = four.first?.1 else {
                return ("the four topics must have the same number of partitions; found \(found)", false, changed)
            }
            state.partitions = count
            state.confirmedAt = askedAt
            return (nil, false, changed)
        }
        let wasSafe = mayWork.exchange(!isChanged, ordering: .acquiringAndReleasing)
        if let complaint {
            readiness.fail(check, complaint)
            if wasSafe, isChanged { logger.error("the topics have changed", metadata: ["reason": "\(complaint)"]) }
        } else {
            readiness.pass(check)
            if !wasSafe { logger.notice("the topics are as they were again") }
        }
        for topic in changed { onChange(topic) }
        return complaint == nil ? state.withLock { $0.partitions } : nil
    }

    /// Looks once a second, and at once when somebody waits for it, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(1))
                    self.wanted.fire()
                }
            }
            while await wanted.wait() {
                _ = await look()
                // Not as fast as a lane turns.
                try? await Task.sleep(for: .milliseconds(100))
            }
            group.cancelAll()
        }
    }
}
