import ChallengeModel
import DequeModule
import KafkaClient
import ServiceSupport
import Synchronization
import Wire

/// Owns one partition's fold, which the four readers, the ticker, the committer and the producer's thread share. It has
/// one lock. Nothing is written, logged or awaited under it.
final class TrackedPartition: Sendable {
    enum Phase: Hashable, Sendable {
        /// The partition is being handed over, or has not begun. Nothing fires. The state is kept in case the partition
        /// returns. A partition that had caught up still has a checkpoint to commit.
        case suspended(hadCaughtUp: Bool)
        /// The partition is being read to its ends at the assignment: first the challenges, then the other topics.
        case catchingUp(ended: Set<Int>)
        case live
    }

    /// The result of reading a record.
    enum Item: Sendable {
        /// A fact with its record, in case the fold refuses it.
        case fact(Fact, ConsumedRecord)
        /// A record to write to the dead letters or to its right partition; nil: another role does this.
        case refused(ProducerRecord?, offset: Int64)
        case end(Int64)
    }

    /// The records that the caller must write, each with its number for ``completed(_:)``.
    struct Consequences: Sendable {
        var news: [(number: Int64?, Fold.News)] = []
        /// The trace contexts of the records behind news that become events, by their numbers.
        var contexts: [Int64: String] = [:]
        var records: [(number: Int64, ProducerRecord)] = []
        /// Records for the dead letters, because they name another service than their challenge's.
        var foreign: [(number: Int64, ConsumedRecord)] = []
        /// Number of consequences that are left to the next owner, see ``fallSilent()``.
        var untold = 0
        var hasCaughtUp = false
    }

    /// Guards a challenge whose records are being written: nothing more is decided until they were read back.
    private struct WriteGuard {
        var pending = 0
        var failures = 0
        var isFailed = false
    }

    private struct State {
        var phase = Phase.suspended(hadCaughtUp: false)
        var fold: Fold
        var positions: Positions
        var checkpoints: Checkpoints
        var marks: AnnouncedMarks
        /// An earlier owner has written the events of records below these positions.
        var newsFrom: Positions
        var catchUpStartMs: Int64 = 0
        var waiting: [PackedSID: Int64] = [:]
        var barrier: Barrier?
        var guards: [PackedSID: WriteGuard] = [:]
        /// Per topic, the records that were acknowledged and not read back yet.
        var acknowledged: [Deque<(offset: Int64, sid: PackedSID)>] = Array(repeating: [], count: 4)
    }

    private struct Barrier {
        var keys: [PackedSID: Int64]
        var ends: Positions?
    }

    let number: Int32
    private let state: Mutex<State>

    /// - Parameters:
    ///   - start: the positions at which reading begins.
    ///   - newsFrom: the first records whose events were not written yet.
    init(number: Int32, policy: TrackerPolicy, start: Positions, newsFrom: Positions, leadMs: Int64, at time: FoldTime)
    {
        self.number = number
        state = Mutex(
            State(
                fold: Fold(policy: policy), positions: start,
                checkpoints: Checkpoints(start: start, atMs: time.localMs, leadMs: leadMs),
                marks: AnnouncedMarks(start: newsFrom), newsFrom: newsFrom))
    }

    // MARK: Assignment

    var positions: Positions { state.withLock { $0.positions } }
    var isLive: Bool { state.withLock { $0.phase == .live } }

    /// Begins reading at ``positions``.
    func begin(at time: FoldTime) {
        state.withLock {
            $0.phase = .catchingUp(ended: [])
            $0.catchUpStartMs = time.localMs
        }
    }

    /// Stops all firing. Due actions are queried again after the next catch-up.
    func suspend() {
        state.withLock {
            $0.phase = .suspended(hadCaughtUp: $0.phase == .live)
            $0.waiting = [:]
            $0.barrier = nil
        }
    }

    /// Call it when the log of one of the four topics is not the one that was read. It is read from its start, and
    /// decisions whose records were not read back are made again.
    func startOver(_ topic: Int, at time: FoldTime) {
        state.withLock { state in
            state.positions[topic] = 0
            state.newsFrom[topic] = 0
            state.checkpoints.startOver(topic)
            state.marks.startOver(topic)
            for lost in state.acknowledged[topic] { Self.release(&state, lost.sid, failed: true, at: time) }
            state.acknowledged[topic] = []
        }
    }

    // MARK: Reading

    /// True when `challenges` was read to its end in this assignment.
    var hasReadChallenges: Bool {
        state.withLock {
            switch $0.phase {
            case .suspended: false
            case .catchingUp(let ended): ended.contains(0)
            case .live: true
            }
        }
    }

    /// Folds the items that were read from one of the four topics.
    func absorb(_ topic: Int, _ items: [Item], at time: FoldTime) -> Consequences {
        state.withLock { state in
            var consequences = Consequences()
            let time = FoldTime(localMs: time.localMs, wallMs: time.wallMs, isReplay: state.phase != .live)
            for item in items {
                switch item {
                case .fact(let fact, let record):
                    guard record.offset >= state.positions[topic] else { continue }
                    state.positions[topic] = record.offset + 1
                    let isNews = record.offset >= state.newsFrom[topic]
                    for news in state.fold.apply(fact, recordedMs: record.timestampMs, at: time, isNews: isNews) {
                        let number = news.isWritten ? state.marks.begin() : nil
                        if news.isWritten, number == nil { consequences.untold += 1 }
                        if case .foreign = news {
                            if let number { consequences.foreign.append((number, record)) }
                        } else {
                            consequences.news.append((number, news))
                            if let number, let context = TraceContext(text: record.headers.traceContext) {
                                consequences.contexts[number] = context.text
                            }
                        }
                    }
                case .refused(let record, let offset):
                    guard offset >= state.positions[topic] else { continue }
                    state.positions[topic] = offset + 1
                    guard let record, offset >= state.newsFrom[topic] else { continue }
                    if let number = state.marks.begin() {
                        consequences.records.append((number, record))
                    } else {
                        consequences.untold += 1
                    }
                case .end(let offset):
                    state.positions[topic] = max(state.positions[topic], offset)
                    consequences.hasCaughtUp = Self.reachedEnd(&state, topic, at: time) || consequences.hasCaughtUp
                }
            }
            Self.clearGuards(&state, topic, at: time)
            return consequences
        }
    }

    private static func reachedEnd(_ state: inout State, _ topic: Int, at time: FoldTime) -> Bool {
        guard case .catchingUp(var ended) = state.phase else { return false }
        ended.insert(topic)
        state.phase = .catchingUp(ended: ended)
        guard ended.count == 4 else { return false }
        state.phase = .live
        state.fold.start(at: time)
        return true
    }

    /// Removes guards whose records were read back, so that the challenge can be checked again.
    private static func clearGuards(_ state: inout State, _ topic: Int, at time: FoldTime) {
        while let first = state.acknowledged[topic].first, first.offset < state.positions[topic] {
            state.acknowledged[topic].removeFirst()
            release(&state, first.sid, failed: false, at: time)
        }
    }

    /// Call it when the write of one record of a challenge has ended.
    private static func release(_ state: inout State, _ sid: PackedSID, failed: Bool, at time: FoldTime) {
        guard var entry = state.guards[sid] else { return }
        entry.pending -= 1
        entry.isFailed = entry.isFailed || failed
        if entry.pending > 0 {
            state.guards[sid] = entry
        } else if entry.isFailed {
            entry.failures += 1
            entry.isFailed = false
            state.guards[sid] = entry
            let wait = Backoff(first: .milliseconds(500), most: .seconds(5), failures: entry.failures).whole
            state.fold.postpone(sid, untilMs: time.localMs + wait.wholeMilliseconds)
        } else {
            state.guards[sid] = nil
            state.fold.look(at: sid, time: time)
        }
    }

    // MARK: Firing

    /// Collects the challenges that are due.
    /// - Parameter latencies: newly learned latencies, if any.
    /// - Returns: true when challenges wait for a barrier and there is none.
    func collect(at time: FoldTime, latencies: [LatencyModel.Key: UInt32]?) -> Bool {
        state.withLock { state in
            if let latencies { state.fold.expectedLatencies = latencies }
            guard state.phase == .live else { return false }
            for (sid, dueMs) in state.fold.due(at: time) where (state.guards[sid]?.pending ?? 0) == 0 {
                state.waiting[sid] = dueMs
            }
            return !state.waiting.isEmpty && state.barrier == nil
        }
    }

    /// Puts the waiting challenges behind a barrier. Query the ends of the partition's topics after this call, and pass
    /// them to ``setEnds(_:)``.
    func raiseBarrier() -> Bool {
        state.withLock { state in
            guard state.phase == .live, !state.waiting.isEmpty, state.barrier == nil else { return false }
            // A limited number at once: all of these are decided, written and acknowledged before the next ones.
            let keys = Array(state.waiting.prefix(2_000))
            state.barrier = Barrier(keys: Dictionary(uniqueKeysWithValues: keys.map { ($0.key, $0.value) }))
            for (key, _) in keys { state.waiting[key] = nil }
            return true
        }
    }

    /// Sets the ends from a query after ``raiseBarrier()``; nil: the query failed and must be sent again.
    func setEnds(_ ends: Positions?) {
        state.withLock { state in
            guard let barrier = state.barrier, barrier.ends == nil else { return }
            if let ends { state.barrier?.ends = ends } else { Self.lift(&state) }
        }
    }

    /// Removes the barrier because too much time has passed, so that the ends are queried again.
    func liftBarrier() {
        state.withLock { if $0.barrier?.ends != nil { Self.lift(&$0) } }
    }

    private static func lift(_ state: inout State) {
        guard let barrier = state.barrier else { return }
        state.waiting.merge(barrier.keys) { $1 }
        state.barrier = nil
    }

    /// The decision about one challenge.
    struct Firing: Sendable {
        let sid: PackedSID
        let dueMs: Int64
        let actions: [Fold.Action]
    }

    /// The records to write, when the barrier is reached. The caller must call ``acknowledged(_:topic:offset:at:)`` or
    /// ``failed(_:at:)`` for each action.
    func fire(at time: FoldTime) -> [Firing] {
        state.withLock { state in
            guard state.phase == .live, let barrier = state.barrier, let ends = barrier.ends,
                state.positions.haveReached(ends)
            else { return [] }
            state.barrier = nil
            var firings: [Firing] = []
            for (sid, dueMs) in barrier.keys {
                guard (state.guards[sid]?.pending ?? 0) == 0 else { continue }
                let actions = state.fold.decide(sid, at: time)
                if actions.isEmpty {
                    state.guards[sid] = nil
                    state.fold.look(at: sid, time: time)
                } else {
                    state.guards[sid, default: WriteGuard()].pending = actions.count
                    firings.append(Firing(sid: sid, dueMs: dueMs, actions: actions))
                }
            }
            return firings
        }
    }

    /// Call it when a record about the challenge is on the log.
    func acknowledged(_ sid: PackedSID, topic: Int, offset: Int64, at time: FoldTime) {
        state.withLock { state in
            guard state.positions[topic] <= offset else { return Self.release(&state, sid, failed: false, at: time) }
            state.acknowledged[topic].append((offset, sid))
        }
    }

    /// Call it when a record about the challenge is probably not on the log. The decision is made again after a while.
    func failed(_ sid: PackedSID, at time: FoldTime) {
        state.withLock { Self.release(&$0, sid, failed: true, at: time) }
    }

    // MARK: Commits and consequences

    /// Number of unacknowledged writes that follow from reading.
    var outstanding: Int { state.withLock { $0.marks.outstanding } }

    var isSilent: Bool { state.withLock { $0.marks.isSilent } }

    /// Stops writing events and dead letters, so that reading and redelivery continue. The commits keep the mark before
    /// the unwritten ones, and the next owner writes them.
    /// - Returns: false when it was already silent.
    func fallSilent() -> Bool {
        state.withLock { state in
            defer { state.marks.silence() }
            return !state.marks.isSilent
        }
    }

    /// Call it when the write with this number is on the log.
    func completed(_ number: Int64) { state.withLock { $0.marks.complete(number) } }

    /// Takes a checkpoint, and returns the offsets to commit and the positions up to which all events were written.
    /// - Returns: nil before the first catch-up.
    func checkpoint(at time: FoldTime) -> (commit: Positions, announced: Positions)? {
        state.withLock { state in
            guard state.phase == .live || state.phase == .suspended(hadCaughtUp: true) else { return nil }
            let guards = state.guards.filter { $0.value.pending > 0 || state.fold.holds($0.key) }
            state.guards = guards
            state.checkpoints.take(state.positions, atMs: time.localMs)
            state.fold.checkpoint = state.checkpoints.newest
            state.marks.mark(state.positions)
            let commit = state.checkpoints.committable(
                oldestRead: state.fold.oldestReadCheckpoint, nowMs: time.localMs)
            return (commit, state.marks.positions)
        }
    }

    /// The view of a challenge; nil when it is not held.
    func view(_ sid: PackedSID, at time: FoldTime) -> ChallengeView? {
        state.withLock { $0.fold.view(sid, partition: number, at: time) }
    }

    struct Gauges: Sendable {
        var held = 0
        var due = 0
        var early = 0
        var catchUpMs: Int64?
    }

    func gauges(at time: FoldTime) -> Gauges {
        state.withLock { state in
            var gauges = Gauges(
                held: state.fold.count, due: state.waiting.count + (state.barrier?.keys.count ?? 0),
                early: state.fold.earlyCount)
            if case .catchingUp = state.phase { gauges.catchUpMs = time.localMs - state.catchUpStartMs }
            return gauges
        }
    }

    /// Duration of the current or last catch-up in milliseconds.
    func catchUpMs(at time: FoldTime) -> Int64 { state.withLock { time.localMs - $0.catchUpStartMs } }
}

extension Fold.News {
    /// Whether the news becomes a record on `events` or a dead letter.
    var isWritten: Bool {
        switch self {
        case .dispatched, .confirmed, .undelivered, .pushFailed, .foreign: true
        case .latency, .matched, .ended, .early, .dropped: false
        }
    }
}
