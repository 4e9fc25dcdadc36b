import ChallengeModel

/// The fold over one partition's log: the held challenges, and the time of the next check of each. A pure value:
/// records and times go in, decisions come out. It neither reads a clock nor writes anything.
/// The same facts in any order give the same state and the same decisions (see ``Held``).
struct Fold: Sendable {
    /// The immediate result of a record, for topic `events` and the metrics.
    enum News: Sendable {
        /// The first push of the challenge was accepted.
        case dispatched(PushOutcome)
        /// The first receipt of the challenge.
        case confirmed(Receipt)
        /// The first escalation.
        case undelivered(Escalation)
        /// A push to one device failed permanently.
        case pushFailed(PushOutcome)
        /// The time from the acceptance of a push to the app's receipt.
        case latency(LatencyModel.Key, Int64)
        /// A receipt from a device that the challenge was pushed to.
        case matched
        /// The challenge has its final status.
        case ended(ChallengeOutcome)
        /// A fact about a challenge that is not known at this time.
        case early
        /// An early fact was dropped because the table was full.
        case dropped
        /// The fact names another service than the challenge's, so it had no effect.
        case foreign
    }

    let policy: TrackerPolicy
    /// The latencies from ``LatencyModel``, for challenges with `adaptive`.
    var expectedLatencies: [LatencyModel.Key: UInt32] = [:]
    /// The newest checkpoint. A challenge that is read from now on keeps commits before it.
    var checkpoint: UInt32 = 0

    var table = HeldTable()
    var names = Interner()
    private var wheel = TimerWheel()
    /// Tick 0 on the tracker's clock; nil until ``start(at:)``.
    private var originMs: Int64?
    private let tickMs: Int64 = 10
    private var spreadEndMs: Int64 = 0
    /// Number of held challenges per checkpoint at which they were read.
    private var heldAt: [UInt32: Int] = [:]
    private(set) var earlyCount = 0
    /// Maximum number of stored provider reasons.
    static let maxDetails = 8_192

    init(policy: TrackerPolicy) { self.policy = policy }

    /// Number of held challenges, including closed and early ones.
    var count: Int { table.count }
    func holds(_ sid: PackedSID) -> Bool { table.find(sid) != nil }
    /// The oldest checkpoint at which a held challenge was read; nil when none is held.
    var oldestReadCheckpoint: UInt32? { heldAt.keys.min() }

    // MARK: Timers

    /// Sets the timers at the end of the catch-up. Actions that became due before are spread over
    /// ``TrackerPolicy/restartSpreadMs``.
    mutating func start(at time: FoldTime) {
        if originMs == nil { originMs = time.localMs - tickMs }
        spreadEndMs = time.localMs + policy.restartSpreadMs
        for slot in table.slots { schedule(slot, at: time) }
    }

    /// Challenges whose next check is due. Call ``decide(_:at:)`` and ``look(at:time:)``, or ``postpone(_:untilMs:)``,
    /// for each. Challenges whose hold has ended are removed here.
    /// - Returns: the challenges with their due times.
    mutating func due(at time: FoldTime) -> [(PackedSID, dueMs: Int64)] {
        guard let originMs, time.localMs > originMs else { return [] }
        var slots: [UInt32] = []
        wheel.advance(to: UInt64(time.localMs - originMs) / UInt64(tickMs)) { slots.append($0) }
        var due: [(PackedSID, dueMs: Int64)] = []
        for slot in slots {
            let plan = plan(table[slot], nowMs: time.localMs)
            if plan.forgetAt <= time.localMs {
                forget(slot)
            } else if let next = plan.next, next <= time.localMs {
                let dueMs = next == Self.atOnce ? time.localMs : max(next, spread(table[slot], next))
                due.append((table[slot].sid, dueMs: dueMs))
            } else {
                schedule(slot, at: time)
            }
        }
        return due
    }

    /// Sets the timer of a challenge again, from its current state.
    mutating func look(at sid: PackedSID, time: FoldTime) {
        if let slot = table.find(sid) { schedule(slot, at: time) }
    }

    /// Sets the next check of a challenge to this time, even when an action is due earlier.
    mutating func postpone(_ sid: PackedSID, untilMs: Int64) {
        guard let originMs, let slot = table.find(sid) else { return }
        wheel.schedule(slot, at: tick(untilMs, originMs))
    }

    mutating func schedule(_ slot: UInt32, at time: FoldTime) {
        guard let originMs else { return }
        let plan = plan(table[slot], nowMs: time.localMs)
        let next = min(plan.next ?? .max, plan.forgetAt)
        wheel.schedule(slot, at: tick(spread(table[slot], next), originMs))
    }

    private func tick(_ timeMs: Int64, _ originMs: Int64) -> UInt64 {
        // Rounded up: a timer may be late by one step, but never early.
        UInt64(max(0, timeMs - originMs + tickMs - 1)) / UInt64(tickMs)
    }

    /// Moves an action that became due before a restart to its place in the spread.
    private func spread(_ held: Held, _ dueMs: Int64) -> Int64 {
        let startMs = spreadEndMs - policy.restartSpreadMs
        guard dueMs < startMs, held.isBased else { return dueMs }
        let room = min(policy.restartSpreadMs, max(0, held.expiresLocalMs - startMs) / 8)
        return startMs + Int64(held.sid.mixed(7) % UInt64(max(1, room)))
    }

    // MARK: Holding

    /// The slot of a challenge, created when needed. Nil when there are too many challenges that are known only from
    /// early facts.
    mutating func slotMaking(_ sid: PackedSID, isEarly: Bool, at time: FoldTime) -> UInt32? {
        if let slot = table.find(sid) { return slot }
        guard !isEarly || earlyCount < policy.maxEarly else { return nil }
        earlyCount += 1
        var held = Held(sid: sid, anchorMs: time.localMs - 4 * 3_600_000)
        held.readAt = held.offset(time.localMs)
        held.readCheckpoint = checkpoint
        heldAt[checkpoint, default: 0] += 1
        return table.insert(held)
    }

    /// Call it when a challenge is no longer known only from early facts.
    mutating func markBased(_ slot: UInt32) {
        guard !table[slot].isBased else { return }
        table[slot].flags.insert(.based)
        earlyCount -= 1
    }

    /// Records that the challenge was read again now, so that commits need not stay before its earlier position.
    mutating func markRead(_ slot: UInt32, at time: FoldTime) {
        release(table[slot].readCheckpoint)
        table[slot].readCheckpoint = checkpoint
        table[slot].readAt = table[slot].offset(time.localMs)
        heldAt[checkpoint, default: 0] += 1
    }

    mutating func forget(_ slot: UInt32) {
        release(table[slot].readCheckpoint)
        if !table[slot].isBased { earlyCount -= 1 }
        wheel.cancel(slot)
        table.remove(slot)
        // Nothing refers to a text any more, so the texts of deleted tenants are removed too.
        if table.count == 0 { names = Interner() }
    }

    private mutating func release(_ checkpoint: UInt32) {
        if let count = heldAt[checkpoint] { heldAt[checkpoint] = count > 1 ? count - 1 : nil }
    }
}
