public import ChallengeModel
public import KafkaClient
public import Logging
public import ServiceSupport
import Synchronization

/// Watches the topics of a role while it runs. They must exist, and the four topics keyed by challenge SID must keep
/// the number of partitions that they had when the role started.
/// With another number, keys belong to other partitions, and the records of one challenge would be in several
/// partitions. While the number differs, the role does not push, relay, act on timers or move records (``isSafe``).
/// Waiting work stays in the outbox and on the log. A new number needs new processes.
public final class TopicWatch: Sendable {
    private struct State {
        /// Number of partitions of each of the four topics; nil: they have never agreed.
        var partitions: Int?
        /// Time at which the last query was sent that confirmed the number.
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
    /// Fired when a caller needs a new query.
    private let wanted = ArrivalSignal()

    /// - Parameters:
    ///   - topics: the four topics and the other topics that the role needs.
    ///   - check: the name of the readiness check that reports faults.
    ///   - onChange: called when a topic other than the four has another number of partitions, or exists again after it
    ///     was missing.
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

    /// The number of partitions of each of the four topics; nil until they have agreed.
    public var partitions: Int? { state.withLock { $0.partitions } }

    /// Whether work that depends on the number of partitions may continue.
    public var isSafe: Bool { mayWork.load(ordering: .acquiring) }

    /// Whether a query that was sent after `instant` has confirmed the numbers. If not, a query is sent soon, so call
    /// it again.
    public func isConfirmed(since instant: ContinuousClock.Instant) -> Bool {
        guard let confirmedAt = state.withLock({ $0.confirmedAt }), confirmedAt >= instant, isSafe else {
            wanted.fire()
            return false
        }
        return true
    }

    /// Queries the topics once, and reports faults to readiness.
    /// - Returns: the number of partitions of each of the four topics; nil while they do not agree or Kafka does not
    ///   answer.
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
                // Kafka did not answer, so no change is known.
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
            if !wasSafe { logger.notice("the topics have the expected partitions again") }
        }
        for topic in changed { onChange(topic) }
        return complaint == nil ? state.withLock { $0.partitions } : nil
    }

    /// Queries the topics until the four have one number of partitions.
    /// - Parameter mayLook: called before each query.
    /// - Returns: the number; nil when `mayLook` said no, or the task was cancelled.
    public func agreement(every interval: Duration, mayLook: () -> Bool = { true }) async -> Int? {
        while mayLook(), !Task.isCancelled {
            if let count = await look() { return count }
            try? await Task.sleep(for: interval)
        }
        return nil
    }

    /// Queries the topics every ``KafkaConfiguration/watchInterval``, and at once when a caller waits for it, until
    /// cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: self.producer.configuration.watchInterval)
                    self.wanted.fire()
                }
            }
            while await wanted.wait() {
                _ = await look()
                // Limits the rate: a lane may ask at every turn of its loop.
                try? await Task.sleep(for: .milliseconds(100))
            }
            group.cancelAll()
        }
    }
}
