import ChallengeModel
import DequeModule
import KafkaClient
import Synchronization

/// The owner of one partition's fold: what the four readers, the ticker, the committer and the producer's thread share.
/// One lock; nothing is written, logged or awaited under it.
final class TrackedPartition: Sendable {
    enum Phase: Hashable, Sendable {
        /// Being handed over, or not yet begun: nothing fires, the state is kept in case it comes back. What had caught up
        /// still has a checkpoint to commit.
        case suspended(hadCaughtUp: Bool)
        /// Reading to the ends that were there: the challenges first, then the rest.
        case catchingUp(ended: Set<Int>)
        case live
    }

    /// What became of a read record.
    enum Item: Sendable {
        /// With the record it was read from, in case the fold refuses it.
        case fact(Fact, ConsumedRecord)
        /// To be written to dead letters, or to its right partition; nil: another role does it.
        case refused(ProducerRecord?, offset: Int64)
        case end(Int64)
    }

    /// What the caller has to write, each with its number for ``completed(_:)``.
    struct Consequences: Sendable {
        var news: [(number: Int64?, Fold.News)] = []
        var records: [(number: Int64, ProducerRecord)] = []
        /// For dead letters: they name another service than their challenge's.
        var foreign: [(number: Int64, ConsumedRecord)] = []
        /// What is left to the next owner, see ``fallSilent()``.
        var untold = 0
        var hasCaughtUp = false
    }

    /// A challenge that is being written about: nothing more is decided until its records were read back.
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
        /// Records below these are old news.
        var newsFrom: Positions
        var catchUpStartMs: Int64 = 0
        var waiting: [PackedSID: Int64] = [:]
        var barrier: Barrier?
        var guards: [PackedSID: WriteGuard] = [:]
        /// Per topic, what was acknowledged and not read back yet.
        var acknowledged: [Deque<(offset: Int64, sid: PackedSID)>] = Array(repeating: [], count: 4)
    }

    private struct Barrier {
        var keys: [PackedSID: Int64]
        var ends: Positions?
    }

    let number: Int32
    private let state: Mutex<State>

    /// - Parameters:
    ///   - start: where reading begins.
    ///   - newsFrom: the first records whose news were not told yet.
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

    /// Reading begins, from ``positions``.
    func begin(at time: FoldTime) {
        state.withLock {
            $0.phase = .catchingUp(ended: [])
            $0.catchUpStartMs = time.localMs
        }
    }

    /// Nothing fires any more. What was due is asked for again after the next catch-up.
    func suspend() {
        state.withLock {
            $0.phase = .suspended(hadCaughtUp: $0.phase == .live)
            $0.waiting = [:]
            $0.barrier = nil
        }
    }

    /// The log of one of the four topics is another than the one that was read: it is read from its start, and what we wrote to it
    /// and did not read back is decided again.
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

    /// True once `challenges` was read to its end in this assignment.
    var hasReadChallenges: Bool {
        state.withLock {
            switch $0.phase {
            case .suspended: false
            case .catchingUp(let ended): ended.contains(0)
            case .live: true
            }
        }
    }

    /// Folds what was read from one of the four topics.
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

    /// Our own records were read back: the challenge may be looked at again.
    private static func clearGuards(_ state: inout State, _ topic: Int, at time: FoldTime) {
        while let first = state.acknowledged[topic].first, first.offset < state.positions[topic] {
            state.acknowledged[topic].removeFirst()
            release(&state, first.sid, failed: false, at: time)
        }
    }

    /// One of the records of a challenge has come to its end.
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
            let delayMs = min(5_000, Int64(250) << Int64(min(entry.failures, 5)))
            state.fold.postpone(sid, untilMs: time.localMs + delayMs)
        } else {
            state.guards[sid] = nil
            state.fold.look(at: sid, time: time)
        }
    }

    // MARK: Firing

    /// Collects what came due up to now.
    /// - Parameter latencies: what was learnt anew, if anything was.
    /// - Returns: true when something waits for a barrier and none is up.
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

    /// Puts what waits behind a barrier. The ends of the partition's topics are to be asked for after this and handed to
    /// ``setEnds(_:)``.
    func raiseBarrier() -> Bool {
        state.withLock { state in
            guard state.phase == .live, !state.waiting.isEmpty, state.barrier == nil else { return false }
            // So many at once at most: each is decided, written and acknowledged before the next lot.
            let keys = Array(state.waiting.prefix(2_000))
            state.barrier = Barrier(keys: Dictionary(uniqueKeysWithValues: keys.map { ($0.key, $0.value) }))
            for (key, _) in keys { state.waiting[key] = nil }
            return true
        }
    }

    /// The ends as asked after ``raiseBarrier()``; nil: the question failed and is to be asked again.
    func setEnds(_ ends: Positions?) {
        state.withLock { state in
            guard let barrier = state.barrier, barrier.ends == nil else { return }
            if let ends { state.barrier?.ends = ends } else { Self.lift(&state) }
        }
    }

    /// Puts what waited at a barrier back, so that the ends are asked for anew: too much time has passed.
    func liftBarrier() {
        state.withLock { if $0.barrier?.ends != nil { Self.lift(&$0) } }
    }

    private static func lift(_ state: inout State) {
        guard let barrier = state.barrier else { return }
        state.waiting.merge(barrier.keys) { $1 }
        state.barrier = nil
    }

    /// One challenge's decision.
    struct Firing: Sendable {
        let sid: PackedSID
        let dueMs: Int64
        let actions: [Fold.Action]
    }

    /// What is to be written, once the barrier is reached. The caller owes an ``acknowledged(_:topic:offset:at:)`` or
    /// ``failed(_:at:)`` per action.
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

    /// A record about the challenge is on the log.
    func acknowledged(_ sid: PackedSID, topic: Int, offset: Int64, at time: FoldTime) {
        state.withLock { state in
            guard state.positions[topic] <= offset else { return Self.release(&state, sid, failed: false, at: time) }
            state.acknowledged[topic].append((offset, sid))
        }
    }

    /// A record about the challenge is not on the log, as far as we know: it is decided again after a while.
    func failed(_ sid: PackedSID, at time: FoldTime) {
        state.withLock { Self.release(&$0, sid, failed: true, at: time) }
    }

    // MARK: Commits and consequences

    /// Writes that follow from reading and have no acknowledgement yet.
    var outstanding: Int { state.withLock { $0.marks.outstanding } }

    var isSilent: Bool { state.withLock { $0.marks.isSilent } }

    /// Stops telling what follows from reading, so that reading, and with it redelivery, goes on: the commits keep the mark in
    /// front of what was not told, and the next owner tells it.
    /// - Returns: false when it was silent already.
    func fallSilent() -> Bool {
        state.withLock { state in
            defer { state.marks.silence() }
            return !state.marks.isSilent
        }
    }

    /// The write of that number is on the log.
    func completed(_ number: Int64) { state.withLock { $0.marks.complete(number) } }

    /// Takes a checkpoint, and says what to commit: per topic the offset, and up to where the news were told.
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

    /// Nil when the challenge is not held.
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

    /// How long the last catch-up took so far, in milliseconds.
    func catchUpMs(at time: FoldTime) -> Int64 { state.withLock { time.localMs - $0.catchUpStartMs } }
}

extension Fold.News {
    /// It becomes a record on `events`, or a dead letter.
    var isWritten: Bool {
        switch self {
        case .dispatched, .confirmed, .undelivered, .pushFailed, .foreign: true
        case .latency, .matched, .early, .dropped: false
        }
    }
}
