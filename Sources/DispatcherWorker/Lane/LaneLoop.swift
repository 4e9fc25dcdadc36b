import ChallengeModel
import KafkaClient
import KafkaGroup
import Logging
import Metrics
import PushGateway
import ServiceSupport

/// What one lane's task does at each turn. Lives in that task only.
final class LaneLoop {
    private enum Stage {
        /// Reading the facts up to their ends; nothing is pushed.
        case catchingUp(LaneEnds?)
        case serving
        case draining(pushesUntilMs: Int64, writesUntilMs: Int64, hasGivenUp: Bool)
        case over
    }

    private let lane: Lane
    private let environment: LaneEnvironment
    private var state: LaneState
    private var stage = Stage.catchingUp(nil)
    /// Records read and not taken; the next is at `cursor`.
    private var batch: [(record: ConsumedRecord, intake: Intake)] = []
    private var cursor = 0
    private var batchReadAt = ContinuousClock.now
    /// Where `challenges` ended, and when that was asked: what stands behind was written after it.
    private var knownEnd: (offset: Int64, askedAtSteadyMs: Int64)?
    /// What the process window was last told.
    private var toldPushes = 0
    private var toldBytes = 0
    private let writer: [UInt8]
    private var quietUntilMs: Int64 = 0
    private var unsaid = 0
    private var isFull = false
    private var isHeld = false
    /// What was read and lies behind a record that waits for its key, that record first; a batch of each topic at most.
    private var held: [Topic: [PartitionItem]] = [:]

    /// Small, so that the first record of a batch waits for little.
    private static let batchSize = 64
    private static let factsPerTurn = 512

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

    /// - Returns: true when there is more to do at once.
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
    /// - Returns: what is known; nil when writes were on their way: they may be on the log, and a successor under this lane's name
    ///   would pass over them as its own.
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
        state.reset()
        tellWindow()
        return isWhole ? state : nil
    }

    // MARK: - Serving

    /// Takes records for as long as there is room. Returns true when it stopped only to let others turn.
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
            // Moved only by the number of partitions as it was found after the record was read: else it may come back for ever.
            if case .misplaced = intake, !environment.topics.isConfirmed(since: batchReadAt) { return false }
            cursor += 1
            perform(state.take(record, intake, now: now))
            if record.timestampMs > 0 {
                environment.metrics.waited.recordMilliseconds(max(0, now.epochMs - record.timestampMs))
            }
            tellWindow()
        }
        return true
    }

    private func mayWork(now: Moment) -> Bool {
        environment.gate.isOpen(steadyMs: now.steadyMs) && areFactsWhole && environment.topics.isSafe
            && environment.clock.isRight(now: now)
    }

    /// What the other three topics say is known: none of them is held. Else a push might go to a device that has confirmed.
    private var areFactsWhole: Bool { held.allSatisfy { $0.key == .challenges } }

    /// The next items of one of the topics; none while it is held in front of a record.
    private func items(_ reader: PartitionReader, _ topic: Topic, max: Int) -> [PartitionItem]? {
        guard let waiting = held[topic] else { return holdBack(reader.available(max: max), topic) }
        if case .record(let first) = waiting[0], environment.holds.mustWait(before: first) { return [] }
        held[topic] = nil
        return holdBack(waiting, topic)
    }

    /// Keeps back a record whose key is not known, and what lies behind it.
    private func holdBack(_ items: [PartitionItem]?, _ topic: Topic) -> [PartitionItem]? {
        guard let items else { return nil }
        let index = items.firstIndex { item in
            if case .record(let record) = item { environment.holds.mustWait(before: record) } else { false }
        }
        guard let index else { return items }
        held[topic] = Array(items[index...])
        return Array(items[..<index])
    }

    private func hasRoom() -> Bool {
        // A record with more devices than the window holds goes alone.
        state.pushes == 0
            || state.pushes < environment.maxPushes && state.bytes < environment.maxBytes
                && environment.window.hasRoom(orWake: lane.signal) && !environment.sender.isFull
    }

    /// Reads a batch when the last one is used up, also while nothing may be pushed: the age of its head is what an alarm
    /// looks at.
    private func refill(now: Moment?) {
        guard cursor == batch.count else { return }
        batch.removeAll(keepingCapacity: true)
        cursor = 0
        while batch.isEmpty {
            guard let items = items(lane.readers.challenges, .challenges, max: Self.batchSize), !items.isEmpty else {
                return
            }
            batchReadAt = .now
            check(items, now: now ?? Moment.now())
        }
        state.look(ahead: batch.map { ($0.record.offset, $0.intake) }, nowMs: (now ?? Moment.now()).epochMs)
    }

    private func check(_ items: [PartitionItem], now: Moment) {
        compareClocks(items, now: now)
        for case .record(let record) in items where record.offset >= state.ledger.next {
            let intake = environment.intake.challenge(record)
            switch intake {
            case .misplaced: environment.metrics.count(.misplaced, [("topic", Topic.challenges.rawValue)])
            case .bad(let reason, let detail):
                environment.metrics.count(
                    .deadLetters, [("topic", Topic.challenges.rawValue), ("reason", reason)])
                warn(
                    "a record goes to the dead letters",
                    ["offset": "\(record.offset)", "reason": "\(reason)", "detail": "\(detail)"], now: now)
            default: break
            }
            batch.append((record, intake))
        }
    }

    /// One record of a batch says enough.
    private func compareClocks(_ items: [PartitionItem], now: Moment) {
        guard case .record(let record)? = items.first(where: { if case .record = $0 { true } else { false } }) else {
            return
        }
        let isNew = knownEnd.map { record.offset >= $0.offset } ?? false
        environment.clock.read(
            timestampMs: record.timestampMs, appendedAfterSteadyMs: isNew ? knownEnd?.askedAtSteadyMs : nil, now: now)
    }

    // MARK: - Facts

    private func take(_ ends: LaneEnds, now: Moment) {
        knownEnd = (ends.challenges, ends.askedAtSteadyMs)
        if case .catchingUp = stage, ends.outcomes != nil {
            // Its reader finds that out too and tells the service, which counts it.
            if case .catchingUp(nil) = stage { _ = state.startOver(ifCutAt: ends.challenges) }
            stage = .catchingUp(ends)
            state.inherit(below: ends.challenges)
        }
        if let receipts = ends.receipts, let resolutions = ends.resolutions {
            state.freshness.ask(atMs: ends.askedAtSteadyMs, receipts: receipts, resolutions: resolutions)
        }
        state.checkpoint(
            challengesEnd: ends.challenges, receipts: ends.receiptsRead, resolutions: ends.resolutionsRead, now: now)
    }

    /// - Returns: true when a reader had as much as was asked for.
    private func readFacts(now: Moment) -> Bool {
        var isMore = false
        isMore = read(lane.readers.outcomes, .outcomes, OutcomeRecord.self) { state, value in
            if case .push(let outcome) = value.kind { state.read(outcome: outcome, nowMs: now.epochMs) }
        } reach: { state, offset in
            state.reach(outcomes: offset)
        }
        isMore =
            read(lane.readers.receipts, .receipts, Receipt.self) { state, value in
                state.read(receipt: value, nowMs: now.epochMs)
            } reach: { state, offset in
                state.reach(receipts: offset)
            } || isMore
        isMore =
            read(lane.readers.resolutions, .resolutions, Resolution.self) { state, value in
                state.read(resolution: value, nowMs: now.epochMs)
            } reach: { state, offset in
                state.reach(resolutions: offset)
            } || isMore
        state.freshness.reach(receipts: state.receipts, resolutions: state.resolutions)
        return isMore
    }

    private func read<Value: TopicValue>(
        _ reader: PartitionReader, _ topic: Topic, _ type: Value.Type, apply: (inout LaneState, Value) -> Void,
        reach: (inout LaneState, Int64) -> Void
    ) -> Bool {
        guard let items = items(reader, topic, max: Self.factsPerTurn) else { return false }
        for item in items {
            switch item {
            case .endOfPartition(let offset): reach(&state, offset)
            case .record(let record):
                reach(&state, record.offset + 1)
                if topic == .outcomes, record.headers.value(of: Lane.writerHeader) == writer { continue }
                switch environment.intake.fact(record, as: type) {
                case .success(let value): apply(&state, value)
                case .failure(.misplaced): environment.metrics.count(.misplaced, [("topic", topic.rawValue)])
                case .failure(.bad(let error)):
                    environment.metrics.count(.deadLetters, [("topic", topic.rawValue), ("reason", error.reason)])
                }
            }
        }
        return items.count == Self.factsPerTurn
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

    // MARK: - Steps

    private func perform(_ steps: [LaneStep]) {
        for step in steps {
            switch step {
            case .send(let id, let push):
                send(id, push)
            case .write(let id, let write):
                environment.producer.enqueue(record(of: write)) { [lane] result in
                    lane.post { $0.reports.append((id, result)) }
                }
            case .answered(let platform, let kind, let disposition):
                environment.metrics.answered(platform, kind, disposition)
            case .dropped(let reason):
                environment.metrics.dropped(reason)
            case .held:
                environment.metrics.count(.attemptsHeld)
            case .unsure:
                environment.metrics.count(.attemptsUnsure)
                warn("a push leaves although the newest receipts could not be read", [:], now: Moment.now())
            }
        }
    }

    private func send(_ id: UInt64, _ push: Push) {
        var push = push
        push.permit = environment.permit
        environment.sender.send(push) { [lane] answer in lane.post { $0.answers.append((id, answer)) } }
    }

    private func take(_ result: Result<RecordPosition, KafkaError>, of id: UInt64, now: Moment) {
        switch result {
        case .success(let position):
            state.acknowledged(id, at: position, nowMs: now.epochMs)
        case .failure(let error):
            environment.metrics.count(.writeRetries)
            warn("a write was not acknowledged and is tried again", ["error": "\(error)"], now: now)
            state.writeFailed(id, isTooLarge: error.isTooLarge, now: now)
        }
    }

    private func record(of write: LaneWrite) -> ProducerRecord {
        switch write {
        case .outcome(let outcome, let traceparent):
            var value = OutcomeRecord()
            value.push = outcome
            var record = environment.intake.signer.record(
                .outcomes, key: outcome.challengeSid, value: value.protobufBytes(), traceparent: traceparent)
            record.headers.append(RecordHeader(Lane.writerHeader, lane.writer))
            return record
        case .deadLetter(let record, let reason, let detail):
            return environment.intake.signer.deadLetter(record, reason: reason, detail: detail)
        case .repost(let record):
            let signer = environment.intake.signer
            let tooOften = RecordSigner.movedTooOften
            return signer.moved(record) ?? signer.deadLetter(record, reason: tooOften.reason, detail: tooOften.detail)
        }
    }

    // MARK: - Showing

    /// Once a second and lane: a flood of bad records or an outage is told by the counters, not by as many lines.
    private func warn(_ message: Logger.Message, _ metadata: Logger.Metadata, now: Moment) {
        guard now.steadyMs >= quietUntilMs else {
            unsaid += 1
            return
        }
        var metadata = metadata
        metadata["partition"] = "\(lane.partition)"
        if unsaid > 0 { metadata["unsaid"] = "\(unsaid)" }
        environment.logger.warning(message, metadata: metadata)
        unsaid = 0
        quietUntilMs = now.steadyMs + 1000
    }

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
        let next = state.ledger.next
        let (receipts, resolutions) = (state.receipts, state.resolutions)
        lane.show { status in
            status.isServing = isServing
            status.needsEnds = needsEnds
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
