import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import PushGateway
import PushProviders
import ServiceSupport
import Synchronization

/// The readers of one partition number.
struct LaneReaders: Sendable {
    let challenges: PartitionReader
    let outcomes: PartitionReader
    let receipts: PartitionReader
    let resolutions: PartitionReader
}

/// The objects that all lanes share.
struct LaneEnvironment: Sendable {
    let sender: any PushSending
    let producer: KafkaProducer
    let intake: ChallengeIntake
    let holds: KeyHolds
    let topics: TopicWatch
    let clock: ClockWatch
    let names: TopicNames
    let metrics: DispatcherMetrics
    let window: ProcessWindow
    let fence: CommitFence
    let permit: any PushPermit
    let beat: Beat
    let logger: Logger
    let maxPushes: Int
    let maxBytes: Int
    /// Nil: no spans are made.
    let tracer: ServiceTracer?
    /// The consumer group, for spans.
    let group: String
}

/// The ends of the four topics' partitions from one query, for one lane.
struct LaneEnds: Hashable, Sendable {
    /// A time before the query was sent.
    var askedAtSteadyMs: Int64
    var challenges: Int64
    /// Nil when only the end of `challenges` was queried.
    var outcomes: Int64?
    var receipts: Int64?
    var resolutions: Int64?
    /// The lane's positions in these two topics at the time of the query.
    var receiptsRead: Int64
    var resolutionsRead: Int64
}

/// The status of a lane for the service. Only the lane writes it.
struct LaneStatus: Sendable {
    var isServing = false
    /// True when the lane needs the ends of all four topics, to catch up or to decide about an attempt.
    var needsEnds = true
    /// True when nothing is open and nothing waits for a time: two ticks a second are enough until something arrives.
    var isQuiet = false
    /// The offset up to which the lane allows a commit; nil before its first turn.
    var commit: CommittedOffset?
    /// The next record that the lane will take.
    var next: Int64 = 0
    var receiptsRead: Int64 = 0
    var resolutionsRead: Int64 = 0
    /// The timestamp of the oldest record in the lane that is not sent; nil: none.
    var oldestUnsentMs: Int64?
    var lastTurnSteadyMs: Int64 = 0
    var oldestSentSteadyMs: Int64?
}

/// Serves one partition: a task that runs when something has arrived, and never waits for a single record.
final class Lane: Sendable {
    /// Messages from other threads. Bounded by the outstanding work: one answer per push, one report per write.
    struct Inbox {
        var answers: [(id: UInt64, answer: PushAnswer)] = []
        var reports: [(id: UInt64, result: Result<RecordPosition, KafkaError>)] = []
        var ends: LaneEnds?
        var isTick = false
        var drain: (pushesUntilMs: Int64, writesUntilMs: Int64)?

        var isEmpty: Bool { answers.isEmpty && reports.isEmpty && ends == nil && !isTick && drain == nil }
    }

    let partition: Int32
    let readers: LaneReaders
    let environment: LaneEnvironment
    /// The writer's name in this lane's own outcomes, so that the lane can skip them when it reads `outcomes`. A lane
    /// that returns after losing its state has another name and reads them.
    let writer: String
    let signal = ArrivalSignal()
    private let inbox = Mutex(Inbox())
    private let shown: Mutex<LaneStatus>
    private let kept: Mutex<LaneState?>
    private let finished = ArrivalSignal()

    static let writerHeader = "beckon-writer"

    init(state: LaneState, writer: String, readers: LaneReaders, environment: LaneEnvironment) {
        partition = state.partition
        self.readers = readers
        self.environment = environment
        self.writer = writer
        kept = Mutex(state)
        var status = LaneStatus()
        status.next = state.ledger.next
        status.receiptsRead = state.receipts
        status.resolutionsRead = state.resolutions
        status.lastTurnSteadyMs = Moment.now().steadyMs
        shown = Mutex(status)
    }

    var status: LaneStatus { shown.withLock { $0 } }

    /// Serves until it is drained, or until the task is cancelled. After a cancellation it waits for nothing and writes
    /// nothing.
    func run() async {
        guard let state = kept.withLock({ $0.take() }) else { return }
        let loop = LaneLoop(lane: self, state: state)
        for reader in [readers.challenges, readers.outcomes, readers.receipts, readers.resolutions] {
            reader.forwardArrivals(to: signal)
        }
        while !loop.isOver, await signal.wait() {
            while loop.turn(), !loop.isOver, !Task.isCancelled { await Task.yield() }
        }
        let left = loop.end()
        kept.withLock { $0 = left }
        finished.fire()
    }

    // MARK: - From other threads

    func tick() { post { $0.isTick = true } }

    func post(ends: LaneEnds) { post { $0.ends = ends } }

    /// Asks the lane to take no more records and to end.
    /// - Parameters: the times until which the lane waits for answers, and then for acknowledgements, in steady
    ///   milliseconds.
    func drain(pushesUntilMs: Int64, writesUntilMs: Int64) { post { $0.drain = (pushesUntilMs, writesUntilMs) } }

    /// Waits for the end and returns the state without open records. Nil: the next owner of the partition, also on this
    /// worker, must begin at the committed position and read this lane's outcomes.
    func drained() async -> LaneState? {
        _ = await finished.wait()
        return kept.withLock { $0.take() }
    }

    func post(_ change: (inout Inbox) -> Void) {
        let wasEmpty = inbox.withLock { inbox in
            let wasEmpty = inbox.isEmpty
            change(&inbox)
            return wasEmpty
        }
        // Messages in the inbox were already signalled, or will be at the next beat.
        if wasEmpty { environment.beat.fire(signal) }
    }

    func empty() -> Inbox {
        inbox.withLock { inbox in
            defer { inbox = Inbox() }
            return inbox
        }
    }

    func show(_ change: (inout LaneStatus) -> Void) { shown.withLock { change(&$0) } }
}
