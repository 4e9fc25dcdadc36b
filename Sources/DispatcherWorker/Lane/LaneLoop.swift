import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import Metrics
import PushGateway
import PushProviders
import ServiceSupport

/// The work of one lane's task at each turn. Only this task uses it.
final class LaneLoop {
    enum Stage {
        /// The lane reads the facts up to their ends and pushes nothing.
        case catchingUp(LaneEnds?)
        case serving
        case draining(pushesUntilMs: Int64, writesUntilMs: Int64, hasGivenUp: Bool)
        case over
    }

    let lane: Lane
    let environment: LaneEnvironment
    var state: LaneState
    var stage = Stage.catchingUp(nil)
    /// Records that were read but not taken. The next one is at `cursor`.
    var batch: [(record: ConsumedRecord, intake: Intake)] = []
    var cursor = 0
    var batchReadAt = ContinuousClock.now
    /// The known end of `challenges` and the time of the query. Later records were written after this time.
    var knownEnd: (offset: Int64, askedAtSteadyMs: Int64)?
    /// The number of pushes last reported to the process window.
    private var toldPushes = 0
    private var toldBytes = 0
    let writer: [UInt8]
    var quietUntilMs: Int64 = 0
    var unsaid = 0
    private var isFull = false
    private var isHeld = false
    /// Items that were read and are held, per topic: first the record that waits for its key, then the items after it.
    /// At most one batch per topic.
    var held: [Topic: [PartitionItem]] = [:]
    /// The spans of open records, by offset. Only records of recorded traces have one.
    var spans: [Int64: ServiceSpan] = [:]

    /// A small size, so that the first record of a batch waits only briefly.
    static let batchSize = 64
    static let factsPerTurn = 512

    init(lane: Lane, state: LaneState) {
        self.lane = lane
        writer = Array(lane.writer.utf8)
        self.state = state
        environment = lane.environment
    }

    var isOver: Bool {
        if case .over = stage { return true }
        return false
    }

    /// - Returns: true when more work is ready.
    func turn() -> Bool {
        let now = Moment.now()
        let inbox = lane.empty()
        if let drain = inbox.drain { beginDrain(drain, now: now) }
        if let ends = inbox.ends { take(ends, now: now) }
        if let answer = inbox.answers.last(where: { $0.answer.providerDateMs > 0 })?.answer {
            environment.clock.heard(dateMs: answer.providerDateMs, sentAtMs: answer.sentAtMs, now: now)
        }
        for (id, answer) in inbox.answers { perform(state.answered(id, answer, now: now)) }
        for (id, result) in inbox.reports { take(result, of: id, now: now) }
        var isMore = false
        switch stage {
        case .catchingUp(let ends):
            isMore = readFacts(now: now)
            guard let ends else { break }
            refill(now: now)
            if state.hasReached(ends) {
                stage = .serving
                environment.logger.debug(
                    "a partition is served",
                    metadata: [
                        "partition": "\(lane.partition)", "offset": "\(state.ledger.next)", "writer": "\(lane.writer)",
                        "outcomes": "\(ends.outcomes ?? 0)", "at-ms": "\(now.epochMs)",
                    ])
                isMore = true
            }
        case .serving:
            isMore = readFacts(now: now)
            let mayPush = mayWork(now: now)
            perform(state.due(now: now, mayPush: mayPush))
            isMore = serve() || isMore
        case .draining(let pushesUntilMs, let writesUntilMs, let hasGivenUp):
            perform(state.due(now: now, mayPush: false))
            if !hasGivenUp, now.steadyMs >= pushesUntilMs, state.hasUnanswered {
                stage = .draining(pushesUntilMs: pushesUntilMs, writesUntilMs: writesUntilMs, hasGivenUp: true)
                giveUp(now: now)
            }
            if state.isDrained || now.steadyMs >= writesUntilMs { stage = .over }
        case .over:
            break
        }
        tellWindow()
        if inbox.isTick { state.tidy(nowMs: now.epochMs) }
        show(now: now, isTick: inbox.isTick)
        return isMore
    }

    /// Gives back everything open.
    /// - Returns: the known facts; nil when writes were in progress. They may be on the log, and a successor with this
    ///   lane's name would skip them as its own.
    func end() -> LaneState? {
        let commit = state.commit()
        lane.show {
            $0.commit = commit
            $0.isServing = false
            $0.oldestSentSteadyMs = nil
            $0.oldestUnsentMs = nil
        }
        let isWhole = state.isDrained
        environment.logger.log(
            level: isWhole ? .debug : .warning, isWhole ? "a partition is left" : "a partition is left with work open",
            metadata: [
                "partition": "\(lane.partition)", "writer": "\(lane.writer)", "pushes": "\(state.units.count)",
                "writes": "\(state.writes.count)", "at-ms": "\(Moment.now().epochMs)",
            ])
        endSpans()
        state.reset()
        tellWindow()
        return isWhole ? state : nil
    }

    // MARK: - Serving

    /// Takes records while there is room. Returns true when it stopped only to let other lanes run.
    private func serve() -> Bool {
        for _ in 0..<Self.batchSize {
            refill(now: nil)
            guard cursor < batch.count else {
                isFull = false
                return false
            }
            let now = Moment.now()
            guard mayWork(now: now) else {
                if !isHeld { environment.metrics.count(.holds) }
                isHeld = true
                return false
            }
            isHeld = false
            guard hasRoom() else {
                if !isFull { environment.metrics.count(.windowFull) }
                isFull = true
                return false
            }
            isFull = false
            let (record, intake) = batch[cursor]
            // A record is moved only after the number of partitions was confirmed after reading it. Otherwise it could
            // be moved back and forth for ever.
            if case .misplaced = intake, !environment.topics.isConfirmed(since: batchReadAt) { return false }
            cursor += 1
            perform(state.take(record, traced(intake, of: record), now: now))
            if record.timestampMs > 0 {
                environment.metrics.waited.recordMilliseconds(max(0, now.epochMs - record.timestampMs))
            }
            tellWindow()
        }
        return true
    }

    private func mayWork(now: Moment) -> Bool {
        environment.fence.isOpen(atMs: now.steadyMs) && areFactsWhole && environment.topics.isSafe
            && environment.clock.isRight(now: now)
    }

    private func hasRoom() -> Bool {
        // A record with more devices than fit into the window is processed alone.
        state.pushes == 0
            || state.pushes < environment.maxPushes && state.bytes < environment.maxBytes
                && environment.window.hasRoom(orWake: lane.signal) && !environment.sender.isFull
    }

    // MARK: - Drain

    private func beginDrain(_ drain: (pushesUntilMs: Int64, writesUntilMs: Int64), now: Moment) {
        if isOver { return }
        state.drain()
        stage = .draining(
            pushesUntilMs: drain.pushesUntilMs, writesUntilMs: drain.writesUntilMs, hasGivenUp: false)
        batch = []
        cursor = 0
        held = [:]
        for reader in [lane.readers.challenges, lane.readers.outcomes, lane.readers.receipts, lane.readers.resolutions]
        {
            environment.holds.end(reader.topicPartition)
        }
    }

    private func giveUp(now: Moment) {
        let steps = state.giveUp(now: now)
        let count = steps.count { if case .write = $0 { true } else { false } }
        environment.metrics.count(.repeatsPossible, [("cause", "drained")], by: count)
        environment.logger.warning(
            "pushes without an answer at the end of the drain",
            metadata: ["partition": "\(lane.partition)", "pushes": "\(count)"])
        perform(steps)
    }

    // MARK: - Showing

    private func tellWindow() {
        environment.window.adjust(pushes: state.pushes - toldPushes, bytes: state.bytes - toldBytes)
        toldPushes = state.pushes
        toldBytes = state.bytes
    }

    private func show(now: Moment, isTick: Bool) {
        var isServing = false
        var needsEnds = false
        switch stage {
        case .catchingUp(let ends): needsEnds = ends == nil
        case .serving:
            isServing = true
            needsEnds = state.holdsBack(now: now)
        default: break
        }
        let commit = isTick ? state.commit() : nil
        let oldestSent = isTick ? state.oldestSentSteadyMs : nil
        let unsent = cursor < batch.count ? batch[cursor].record.timestampMs : nil
        let isQuiet =
            isTick && isServing && !needsEnds && state.isIdle && cursor >= batch.count && held.isEmpty
        let next = state.ledger.next
        let (receipts, resolutions) = (state.receipts, state.resolutions)
        lane.show { status in
            status.isServing = isServing
            status.needsEnds = needsEnds
            status.isQuiet = isQuiet
            if isTick {
                status.commit = commit
                status.oldestSentSteadyMs = oldestSent
            }
            status.next = next
            status.receiptsRead = receipts
            status.resolutionsRead = resolutions
            status.oldestUnsentMs = unsent
            status.lastTurnSteadyMs = now.steadyMs
        }
        guard isTick else { return }
        let evicted = state.takeEvicted()
        if evicted > 0 { environment.metrics.count(.repeatsPossible, [("cause", "forgotten")], by: evicted) }
    }
}
