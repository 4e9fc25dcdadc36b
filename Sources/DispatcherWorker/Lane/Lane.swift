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

/// What all lanes share.
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
}

/// Ends of the four topics' partitions as asked at one instant, for one lane.
struct LaneEnds: Hashable, Sendable {
    /// Before the question left.
    var askedAtSteadyMs: Int64
    var challenges: Int64
    /// Nil when only the end of `challenges` was asked for.
    var outcomes: Int64?
    var receipts: Int64?
    var resolutions: Int64?
    /// How far the lane had read these two when the ends were asked.
    var receiptsRead: Int64
    var resolutionsRead: Int64
}

/// What a lane shows to the service. Written by the lane, read by everybody.
struct LaneStatus: Sendable {
    var isServing = false
    /// Where all four topics end: to know that it has caught up, or that an attempt is still wanted.
    var needsEnds = true
    /// As far as the lane will let it be committed; nil before its first look.
    var commit: CommittedOffset?
    /// The next record it will take.
    var next: Int64 = 0
    var receiptsRead: Int64 = 0
    var resolutionsRead: Int64 = 0
    /// The time stamp of the oldest record in its hands that is not sent; nil: none.
    var oldestUnsentMs: Int64?
    var lastTurnSteadyMs: Int64 = 0
    var oldestSentSteadyMs: Int64?
}

/// One partition being served: a task that turns when something has arrived, and never waits for one record.
final class Lane: Sendable {
    /// What arrives from other threads. Bounded by what is in flight: one answer per push, one report per write.
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
    /// Marks our own outcomes, so that following them costs nothing. A lane that comes back after losing its state has
    /// another one and reads them.
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

    /// Serves until drained, or until the task is cancelled; then nothing is waited for and nothing more is written.
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

    /// Asks the lane to take no more and to end.
    /// - Parameters: until when answers, and after them acknowledgements, are waited for; steady milliseconds.
    func drain(pushesUntilMs: Int64, writesUntilMs: Int64) { post { $0.drain = (pushesUntilMs, writesUntilMs) } }

    /// Waits for the end and takes what is left: the state without anything open. Nil: who serves the partition next, here too,
    /// begins with what is committed, and reads this lane's outcomes.
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
        // What lies in the inbox has been signalled, or will be with the next beat.
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
