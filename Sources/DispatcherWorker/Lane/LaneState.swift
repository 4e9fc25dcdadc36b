import ChallengeModel
import KafkaClient
import PushGateway
import PushProviders

/// The work of one partition as a value: the open records, the outstanding pushes, the known facts about challenges,
/// and the offset to commit. It only decides; it sends and writes nothing.
/// A record is done when every write that follows from it is acknowledged. The states of a push are: planned → sent →
/// answered → outcome written → acknowledged; or, once, answered `deferred` → waiting → sent. An attempt after the
/// first, a retry, a push that a predecessor may already have made, and one whose record is a second old wait while
/// ``FactFreshness`` is not recent.
struct LaneState: Sendable {
    struct OpenRecord: Sendable {
        /// Number of outstanding pushes and writes.
        var outstanding: Int
        var pushes: Int
        var bytes: Int
    }

    struct PendingWrite: Sendable {
        let record: Int64
        var write: LaneWrite
        /// The push of this outcome; nil: a write that has no push.
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
    /// The positions in the three topics of facts.
    private(set) var outcomes: Int64
    private(set) var receipts: Int64
    private(set) var resolutions: Int64
    var freshness = FactFreshness()
    /// The end of `challenges` at the assignment. A predecessor may have pushed records below it and died before it
    /// recorded the outcome. A receipt may then be the only known fact about such a push.
    private(set) var inheritedEnd: Int64 = 0

    var open: [Int64: OpenRecord] = [:]
    var units: [UInt64: PushUnit] = [:]
    /// Pushes whose outcome is not acknowledged yet, so that the same push in a second record is not sent meanwhile.
    var unrecorded: Set<UInt64> = []
    /// Devices with a push that waits for its retry or for the facts.
    var waiting: [UInt64: [UInt64]] = [:]
    var writes: [UInt64: PendingWrite] = [:]
    var timers: [(atSteadyMs: Int64, timer: Timer)] = []
    /// For each device, the attempts and resends that were read and may overtake an earlier record of it.
    var ahead: [UInt64: [(offset: Int64, id: DispatchID)]] = [:]
    private var nextID: UInt64 = 1
    var isDraining = false

    /// Number of pushes that were taken and not acknowledged, and the bytes of their records.
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

    /// Call it when the partition returns after a drain. Known facts stay known.
    /// - Parameter committed: the position that the broker has now. Another member may have served the partition in the
    ///   meantime.
    mutating func resume(committed: Int64?) {
        var floors = floors
        let start = max(committed ?? 0, ledger.committable)
        // The outcomes of records beyond the commit are after this floor. The ledger no longer knows these records.
        let floor = floors.floor(committed: ledger.committable, next: .max)
        let known = floors.known
        self.floors = OutcomeFloors(inherited: floor)
        self.floors.reach(known)
        ledger = OffsetLedger(start: start)
        freshness = FactFreshness()
        isDraining = false
    }

    /// Checks whether `challenges` ends before the start position, because its log was cut (an unclean election) or
    /// created again. The log is then taken from its start, because its new records reuse offsets of old ones.
    /// - Parameter end: the end from a query after the assignment, before any record was taken.
    /// - Returns: true when the log was cut.
    mutating func startOver(ifCutAt end: Int64) -> Bool {
        guard end < ledger.next else { return false }
        ledger = OffsetLedger(start: 0)
        floors = OutcomeFloors(inherited: 0)
        return true
    }

    /// Call it when the logs of these topics are not the ones that were read. They are read from their start, and
    /// positions in them are forgotten. Known facts about challenges stay known.
    mutating func startOver(_ topics: Set<Topic>) {
        guard !topics.isEmpty else { return }
        if topics.contains(.challenges) { ledger = OffsetLedger(start: 0) }
        if topics.contains(.outcomes) { outcomes = 0 }
        if topics.contains(.receipts) { receipts = 0 }
        if topics.contains(.resolutions) { resolutions = 0 }
        if topics.contains(.challenges) || topics.contains(.outcomes) { floors = OutcomeFloors(inherited: 0) }
        // Empty, so that the next owner reads them from the beginning.
        if topics != [.outcomes] { positions = FactPositions(spans: []) }
        freshness = FactFreshness()
    }

    // MARK: - Facts

    mutating func read(outcome: PushOutcome, nowMs: Int64) { facts.apply(outcome, nowMs: nowMs) }

    mutating func read(receipt: Receipt, nowMs: Int64) {
        // The same as the tracker's: a device where the person cannot see it confirms only for itself.
        let isSeen = receipt.channel == .poll || receipt.shown != .no
        facts.confirm(challenge: receipt.challengeSid, factor: receipt.factorSid, isSeen: isSeen, nowMs: nowMs)
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

    /// Whether the facts were read up to these ends.
    func hasReached(_ ends: LaneEnds) -> Bool {
        outcomes >= ends.outcomes ?? 0 && receipts >= ends.receipts ?? 0 && resolutions >= ends.resolutions ?? 0
    }

    /// Sets the end of `challenges` from a query after the assignment. A predecessor may have served records below it.
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
