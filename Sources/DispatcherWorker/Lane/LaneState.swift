import ChallengeModel
import DequeModule
import KafkaClient
import PushGateway
import PushProviders

/// What a lane has to do next.
enum LaneStep: Sendable {
    case send(UInt64, Push)
    case write(UInt64, LaneWrite)
    /// For the counters: a push was answered.
    case answered(Platform, PushKind, Disposition)
    case dropped(DropReason)
    /// For the counters: a later attempt waits until its lane has read the facts.
    case held
    /// For the counters: it has waited too long and goes without.
    case unsure
}

/// Something to write, acknowledged, before its record is done.
enum LaneWrite: Sendable {
    case outcome(PushOutcome, traceparent: String?)
    case deadLetter(ConsumedRecord, reason: String, detail: String)
    /// The same bytes and headers, to where the key belongs.
    case repost(ConsumedRecord)
}

extension LaneWrite {
    private static let cutBytes = 64 * 1024

    /// What is sure to fit into a record: without foreign headers, key and value cut.
    fileprivate func cut() -> LaneWrite {
        switch self {
        case .outcome: self
        case .deadLetter(let record, let reason, let detail):
            .deadLetter(Self.cut(record), reason: reason, detail: detail)
        case .repost(let record):
            .deadLetter(
                Self.cut(record), reason: "size", detail: "misplaced, and too large to be written to its partition")
        }
    }

    private static func cut(_ record: ConsumedRecord) -> ConsumedRecord {
        ConsumedRecord(
            topicPartition: record.topicPartition, offset: record.offset, timestampMs: record.timestampMs,
            key: Array(record.key.prefix(1024)), value: Array(record.value.prefix(cutBytes)),
            headers: record.headers.filter { $0.name == ContentType.headerName && $0.value.count < 100 })
    }
}

/// One partition's work as a value: which records are open, which pushes are out, what is known about challenges, what may
/// be committed. Decides; sends and writes nothing itself.
///
/// A record is done when every write that follows from it is acknowledged. A push goes: planned → sent → answered →
/// outcome written → acknowledged; or, once, answered `deferred` → waiting → sent. A later attempt, a retry, and what a
/// predecessor may have pushed already wait before they are sent while ``FactFreshness`` is not recent.
struct LaneState: Sendable {
    struct OpenRecord: Sendable {
        /// Pushes and writes outstanding.
        var outstanding: Int
        var pushes: Int
        var bytes: Int
    }

    struct PendingWrite: Sendable {
        let record: Int64
        var write: LaneWrite
        /// The push whose outcome it is; nil: nothing that could be repeated.
        let unit: UInt64?
        var attempts = 0
    }

    enum Timer: Sendable {
        case sendPush(UInt64)
        case retryWrite(UInt64)
    }

    let partition: Int32
    let builder: PushBuilder
    private let quickRetry: QuickRetry

    var facts: LaneFacts
    var positions: FactPositions
    var floors: OutcomeFloors
    var ledger: OffsetLedger
    /// How far the three topics of facts were read.
    private(set) var outcomes: Int64
    private(set) var receipts: Int64
    private(set) var resolutions: Int64
    var freshness = FactFreshness()
    /// Where `challenges` ended when the partition came to us. A predecessor may have pushed what lies below, and died before it
    /// could say so: a receipt may be all that is known of it.
    private(set) var inheritedEnd: Int64 = 0

    var open: [Int64: OpenRecord] = [:]
    var units: [UInt64: PushUnit] = [:]
    /// Pushes without an answer, so that the same one in a second record is not sent beside it.
    var unanswered: Set<UInt64> = []
    /// Devices with a push that waits for its retry, or for the facts.
    var waiting: [UInt64: [UInt64]] = [:]
    var writes: [UInt64: PendingWrite] = [:]
    var timers: [(atSteadyMs: Int64, timer: Timer)] = []
    /// Per device the newest record in the lane's hands, not taken yet.
    var ahead: [UInt64: Int64] = [:]
    private var nextID: UInt64 = 1
    var isDraining = false

    /// Pushes taken and not acknowledged, and the bytes of their records.
    var pushes = 0
    var bytes = 0

    init(partition: Int32, start: LaneStart, builder: PushBuilder, quickRetry: QuickRetry, facts: LaneFacts) {
        self.partition = partition
        self.builder = builder
        self.quickRetry = quickRetry
        self.facts = facts
        positions = FactPositions(spans: start.spans)
        floors = OutcomeFloors(inherited: start.outcomes)
        ledger = OffsetLedger(start: start.challenges)
        outcomes = start.outcomes
        receipts = positions.receipts
        resolutions = positions.resolutions
    }

    /// The partition comes back to us after a drain: what is known stays known.
    /// - Parameter committed: as the broker has it now; another member may have served the partition meanwhile.
    mutating func resume(committed: Int64?) {
        var floors = floors
        let start = max(committed ?? 0, ledger.committable)
        // What was done beyond the commit has its outcomes behind this floor; the ledger has forgotten that there was any.
        let floor = floors.floor(committed: ledger.committable, next: .max)
        let known = floors.known
        self.floors = OutcomeFloors(inherited: floor)
        self.floors.reach(known)
        ledger = OffsetLedger(start: start)
        freshness = FactFreshness()
        isDraining = false
    }

    /// `challenges` may end before where we begin: a log that was cut (an unclean election) or made anew. What is in it now is
    /// taken from its start, for its new records have offsets that were another's before.
    /// - Parameter end: as asked after the assignment, before anything was taken.
    /// - Returns: true when that was so.
    mutating func startOver(ifCutAt end: Int64) -> Bool {
        guard end < ledger.next else { return false }
        ledger = OffsetLedger(start: 0)
        floors = OutcomeFloors(inherited: 0)
        return true
    }

    /// The logs of these topics are others than the ones that were read: they are read from their start, and positions in them are
    /// forgotten. What is known of challenges stays known.
    mutating func startOver(_ topics: Set<Topic>) {
        guard !topics.isEmpty else { return }
        if topics.contains(.challenges) { ledger = OffsetLedger(start: 0) }
        if topics.contains(.outcomes) { outcomes = 0 }
        if topics.contains(.receipts) { receipts = 0 }
        if topics.contains(.resolutions) { resolutions = 0 }
        if topics.contains(.challenges) || topics.contains(.outcomes) { floors = OutcomeFloors(inherited: 0) }
        // Empty: whoever comes after us reads them from the beginning.
        if topics != [.outcomes] { positions = FactPositions(spans: []) }
        freshness = FactFreshness()
    }

    // MARK: - Facts

    mutating func read(outcome: PushOutcome, nowMs: Int64) { facts.apply(outcome, nowMs: nowMs) }

    mutating func read(receipt: Receipt, nowMs: Int64) {
        facts.confirm(challenge: receipt.challengeSid, factor: receipt.factorSid, nowMs: nowMs)
    }

    mutating func read(resolution: Resolution, nowMs: Int64) {
        facts.resolve(challenge: resolution.challengeSid, nowMs: nowMs)
    }

    mutating func reach(outcomes offset: Int64) {
        outcomes = max(outcomes, offset)
        floors.reach(offset)
    }
    mutating func reach(receipts offset: Int64) { receipts = max(receipts, offset) }
    mutating func reach(resolutions offset: Int64) { resolutions = max(resolutions, offset) }

    /// The facts were read up to where they ended when that was asked.
    func hasReached(_ ends: LaneEnds) -> Bool {
        outcomes >= ends.outcomes ?? 0 && receipts >= ends.receipts ?? 0 && resolutions >= ends.resolutions ?? 0
    }

    /// The end of `challenges` as asked after the assignment: below it may be records that a predecessor has served.
    mutating func inherit(below challengesEnd: Int64) {
        inheritedEnd = challengesEnd
        floors.inherit(below: challengesEnd)
    }

    mutating func checkpoint(challengesEnd: Int64, receipts: Int64, resolutions: Int64, now: Moment) {
        positions.checkpoint(
            steadyMs: now.steadyMs, challengesEnd: challengesEnd, receipts: receipts, resolutions: resolutions)
    }

    // MARK: - Records

    /// Records have come into the lane's hands and will be taken next, in order; the ones before them were all taken. So
    /// what one of them overtakes is known before it is sent.
    mutating func look(ahead batch: [(offset: Int64, intake: Intake)], nowMs: Int64) {
        ahead.removeAll(keepingCapacity: true)
        for (offset, intake) in batch {
            guard case .dispatch(let checked) = intake else { continue }
            let dispatch = checked.dispatch
            for target in dispatch.targets {
                let device = Fingerprint.device(challenge: dispatch.challengeSid, factor: target.factorSid)
                ahead[device] = offset
                facts.see(checked.id, device: device, expiresAtMs: dispatch.expiresAtMs, nowMs: nowMs)
                for id in waiting[device] ?? [] { units[id]?.isOvertaken = true }
            }
        }
    }

    /// Takes one record: everything that follows from it begins.
    mutating func take(_ record: ConsumedRecord, _ intake: Intake, now: Moment) -> [LaneStep] {
        guard record.offset >= ledger.next else { return [] }
        floors.take(record.offset)
        ledger.take(record.offset)
        let size = record.value.count + record.key.count
        var steps: [LaneStep] = []
        switch intake {
        case .carried:
            ledger.complete(record.offset)
        case .deviceChanged(let changed):
            facts.change(changed, nowMs: now.epochMs)
            ledger.complete(record.offset)
        case .misplaced:
            begin(record.offset, outstanding: 1, bytes: size)
            steps.append(write(.repost(record), record: record.offset))
        case .bad(let reason, let detail):
            begin(record.offset, outstanding: 1, bytes: size)
            steps.append(write(.deadLetter(record, reason: reason, detail: detail), record: record.offset))
        case .dispatch(let checked):
            positions.note(offset: record.offset, expiresAtMs: checked.dispatch.expiresAtMs)
            plan(checked, record: record.offset, bytes: size, now: now, into: &steps)
        }
        return steps
    }

    private mutating func plan(
        _ checked: CheckedDispatch, record: Int64, bytes: Int, now: Moment, into steps: inout [LaneStep]
    ) {
        let dispatch = checked.dispatch
        var outstanding = 0
        for (target, factor) in zip(dispatch.targets, checked.factors) {
            let device = Fingerprint.device(challenge: dispatch.challengeSid, factor: factor.rawValue)
            let known = facts(of: checked, factor: factor.rawValue, device: device, record: record)
            let plan = PushPlanner.plan(target, of: dispatch, id: checked.id, facts: known, nowMs: now.epochMs)
            for planned in plan {
                outstanding += 1
                guard planned.decision == .push else {
                    if case .drop(let reason) = planned.decision { steps.append(.dropped(reason)) }
                    let outcome = builder.outcome(planned, of: checked, nowMs: now.epochMs)
                    steps.append(
                        write(
                            .outcome(outcome, traceparent: checked.traceparent), record: record,
                            unit: unit(of: checked, factor: factor.rawValue, kind: planned.kind, if: planned.decision)))
                    continue
                }
                let id = takeID()
                var push = builder.push(planned, of: checked, factor: factor)
                let fingerprint = Fingerprint.unit(
                    challenge: dispatch.challengeSid, factor: factor.rawValue, dispatch: dispatch.dispatchID,
                    kind: planned.kind)
                let needsFacts = checked.id.isAttempt || record < inheritedEnd && !checked.id.isResend
                let isHeld = needsFacts && !freshness.isRecent(steadyMs: now.steadyMs)
                units[id] = PushUnit(
                    record: record, fingerprint: fingerprint, device: device, dispatch: checked, push: push,
                    attempts: isHeld ? 0 : 1, sentAtSteadyMs: isHeld ? nil : now.steadyMs)
                unanswered.insert(fingerprint)
                if isHeld {
                    wait(id, device: device, untilSteadyMs: now.steadyMs)
                    steps.append(.held)
                } else {
                    if checked.id.isAttempt { push.leaveByMs = freshness.leaveByMs(now) }
                    steps.append(.send(id, push))
                }
            }
        }
        begin(record, outstanding: outstanding, bytes: bytes)
    }

    private func facts(of checked: CheckedDispatch, factor: String, device: UInt64, record: Int64) -> DeviceFacts {
        var known = facts.facts(
            challenge: checked.dispatch.challengeSid, factor: factor, device: device,
            dispatch: checked.dispatch.dispatchID, id: checked.id,
            isOvertaken: ahead[device].map { $0 > record } ?? false)
        if !unanswered.isEmpty {
            for kind in [PushKind.visible, .background]
            where unanswered.contains(
                Fingerprint.unit(
                    challenge: checked.dispatch.challengeSid, factor: factor, dispatch: checked.dispatch.dispatchID,
                    kind: kind))
            {
                known.done.insert(kind)
            }
        }
        return known
    }

    /// A drop is final for its push, but for "done already", which says nothing new.
    private func unit(
        of checked: CheckedDispatch, factor: String, kind: PushKind, if decision: PlannedPush.Decision
    ) -> UInt64? {
        if decision == .drop(.alreadyDone) { return nil }
        return Fingerprint.unit(
            challenge: checked.dispatch.challengeSid, factor: factor, dispatch: checked.dispatch.dispatchID, kind: kind)
    }

    private mutating func begin(_ record: Int64, outstanding: Int, bytes: Int) {
        open[record] = OpenRecord(outstanding: outstanding, pushes: outstanding, bytes: bytes)
        pushes += outstanding
        self.bytes += bytes
    }

    private mutating func wait(_ id: UInt64, device: UInt64, untilSteadyMs: Int64) {
        waiting[device, default: []].append(id)
        timers.append((untilSteadyMs, .sendPush(id)))
    }

    // MARK: - Answers

    /// The gateway's answer. Unknown ids are of an earlier life and ignored.
    mutating func answered(_ id: UInt64, _ answer: PushAnswer, now: Moment) -> [LaneStep] {
        guard var unit = units[id], unit.sentAtSteadyMs != nil else { return [] }
        var steps = [LaneStep.answered(unit.push.platform, unit.push.kind, answer.disposition)]
        let delay = quickRetry.delayMs(after: answer, expiresAtMs: unit.push.expiresAtMs, nowMs: now.epochMs)
        if let delay, unit.attempts == 1, !isDraining {
            unit.sentAtSteadyMs = nil
            units[id] = unit
            wait(id, device: unit.device, untilSteadyMs: now.steadyMs + delay)
            return steps
        }
        units[id] = nil
        unanswered.remove(unit.fingerprint)
        let outcome = builder.outcome(answer, of: unit.push, in: unit.dispatch, nowMs: now.epochMs)
        if outcome.disposition == .dropped { steps.append(.dropped(outcome.dropReason)) }
        if outcome.usesBackground {
            facts.useBackground(device: unit.device, expiresAtMs: outcome.expiresAtMs, nowMs: now.epochMs)
        }
        steps.append(
            write(
                .outcome(outcome, traceparent: unit.dispatch.traceparent), record: unit.record, unit: unit.fingerprint))
        return steps
    }

    /// The broker has it.
    mutating func acknowledged(_ id: UInt64, at position: RecordPosition, nowMs: Int64) {
        guard let pending = writes.removeValue(forKey: id) else { return }
        if case .outcome(let outcome, _) = pending.write {
            floors.reach(position.offset + 1)
            if let unit = pending.unit { facts.finish(unit, expiresAtMs: outcome.expiresAtMs, nowMs: nowMs) }
        }
        finishOne(of: pending.record)
    }

    /// It was not written, or nobody knows. It is tried again for as long as the partition is ours.
    /// - Parameter isTooLarge: the same bytes will never be taken: they are cut, for poison must not stop the lane.
    mutating func writeFailed(_ id: UInt64, isTooLarge: Bool = false, now: Moment) {
        guard var pending = writes[id] else { return }
        if isTooLarge { pending.write = pending.write.cut() }
        pending.attempts += 1
        writes[id] = pending
        let delay = min(2000, Int64(50) << Int64(min(pending.attempts, 6)))
        timers.append((now.steadyMs + delay, .retryWrite(id)))
    }

    private mutating func finishOne(of record: Int64) {
        guard var opened = open[record] else { return }
        opened.outstanding -= 1
        guard opened.outstanding == 0 else {
            open[record] = opened
            return
        }
        open[record] = nil
        pushes -= opened.pushes
        bytes -= opened.bytes
        ledger.complete(record)
    }

    // MARK: -

    mutating func write(_ write: LaneWrite, record: Int64, unit: UInt64? = nil) -> LaneStep {
        let id = takeID()
        writes[id] = PendingWrite(record: record, write: write, unit: unit)
        return .write(id, write)
    }

    private mutating func takeID() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }
}

/// From where a lane begins.
struct LaneStart: Hashable, Sendable {
    var challenges: Int64
    var outcomes: Int64
    /// Empty: from the beginning.
    var spans: [FactPositions.Span]

    /// - Parameter committed: nil when the group never committed this partition.
    init(committed: CommittedOffset?, nowMs: Int64) {
        challenges = committed?.offset ?? 0
        if let metadata = committed.flatMap({ CommitMetadata($0.metadata) }) {
            outcomes = metadata.outcomes
            spans = metadata.spans
        } else {
            outcomes = 0
            // A commit that says nothing may have challenges before it that live for as long as one can.
            spans =
                committed == nil
                ? []
                : [FactPositions.Span(start: 0, receipts: 0, resolutions: 0, expiresAtMs: nowMs + LaneFacts.keepMs)]
        }
    }
}
