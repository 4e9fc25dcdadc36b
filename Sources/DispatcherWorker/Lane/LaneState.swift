import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// The work of one partition as a value: the open records, the outstanding pushes, the known facts about challenges,
/// and the offset to commit. It only decides; it sends and writes nothing.
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
    let quickRetry: QuickRetry

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

    // MARK: - Writes

    mutating func write(_ write: LaneWrite, record: Int64, unit: UInt64? = nil) -> LaneStep {
        let id = takeID()
        writes[id] = PendingWrite(record: record, write: write, unit: unit)
        return .write(id, write)
    }

    mutating func takeID() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }
}
