public import KafkaClient
import Synchronization

/// What became of a commit.
public enum CommitAnswer: Sendable {
    /// - Parameter isOpening: the fence was closed, and this answer has opened it.
    case acknowledged(isOpening: Bool)
    /// Normal inside a rebalance. ``KafkaError/isEviction`` says whether the group has excluded the member.
    case refused(KafkaError)
}

/// Whether a member of a group may still act on its partitions: only while a commit that the broker has acknowledged was sent
/// recently enough that no other member can own them. A process that was frozen or cut off may have lost its partitions without
/// knowing it (docs/decisions/0013).
///
/// Times are milliseconds of a clock that never goes back and counts while the machine sleeps.
public final class CommitFence: Sendable {
    private struct State {
        /// When the last acknowledged commit was sent; nil: none since the assignment.
        var acknowledgedMs: Int64?
        /// Counts assignments and their ends.
        var term = 0
        /// The coordinator has excluded us: no age says anything until the next assignment.
        var isEvicted = false
        /// Why the last commit was not acknowledged; nil: it was, or none was sent since the assignment.
        var refusal: KafkaError?
    }

    /// How long a commit is good for from when it was sent.
    public let freshFor: Duration
    private let freshMs: Int64
    private let steadyMs: @Sendable () -> Int64
    private let state = Mutex(State())

    /// - Parameters:
    ///   - freshFor: see ``KafkaConfiguration/ownershipFence``.
    ///   - steadyMs: the clock.
    public init(freshFor: Duration, steadyMs: @escaping @Sendable () -> Int64) {
        self.freshFor = freshFor
        freshMs = freshFor.components.seconds * 1000 + freshFor.components.attoseconds / 1_000_000_000_000_000
        self.steadyMs = steadyMs
    }

    /// The assignment that a commit belongs to: read before its offsets are.
    public var term: Int { state.withLock { $0.term } }

    /// Commits, and notes what the answer says about the membership. However late an acknowledgement comes, it counts from when
    /// the commit was sent.
    /// - Parameters:
    ///   - term: of the assignment that the offsets belong to. The answer of one that has ended says nothing.
    ///   - deadline: for the wait; an answer that comes later does not count.
    public func commit(
        _ offsets: [TopicPartition: CommittedOffset], by consumer: KafkaConsumer, term: Int, deadline: Duration
    ) async -> CommitAnswer {
        // What was collected for an assignment that has ended may be another member's by now.
        guard self.term == term else {
            return .refused(KafkaError(code: "_STATE", reason: "the assignment of these offsets has ended"))
        }
        let sentAtMs = steadyMs()
        do {
            try await consumer.commit(offsets, deadline: deadline)
            return .acknowledged(isOpening: acknowledge(sentAtMs: sentAtMs, term: term, nowMs: steadyMs()))
        } catch {
            refuse(error, term: term)
            return .refused(error)
        }
    }

    /// - Parameter sentAtMs: when the commit left, for only then were we certainly members.
    /// - Returns: whether work may start that had to wait before.
    @discardableResult
    func acknowledge(sentAtMs: Int64, term: Int, nowMs: Int64) -> Bool {
        state.withLock { state in
            guard state.term == term else { return false }
            state.refusal = nil
            guard !state.isEvicted else { return false }
            let wasOpen = isOpen(state, nowMs)
            state.acknowledgedMs = max(state.acknowledgedMs ?? sentAtMs, sentAtMs)
            return !wasOpen && isOpen(state, nowMs)
        }
    }

    /// A commit was refused. If that was because we are no longer members, nothing is done from now on.
    func refuse(_ error: KafkaError, term: Int) {
        state.withLock { state in
            guard state.term == term else { return }
            state.refusal = error
            if error.isEviction { state.isEvicted = true }
        }
    }

    /// An assignment begins or has ended: nothing is done before its first acknowledged commit.
    public func shut() { state.withLock { $0 = State(term: $0.term + 1) } }

    public func isOpen(atMs nowMs: Int64) -> Bool { state.withLock { isOpen($0, nowMs) } }

    /// Whether it is open, and for this assignment: for work that was begun earlier.
    public func isOpen(term: Int, atMs nowMs: Int64) -> Bool {
        state.withLock { $0.term == term && isOpen($0, nowMs) }
    }

    private func isOpen(_ state: borrowing State, _ nowMs: Int64) -> Bool {
        guard let last = state.acknowledgedMs, !state.isEvicted else { return false }
        return nowMs - last <= freshMs
    }

    /// Since the last acknowledged commit was sent; nil: none since the assignment.
    public func ageMs(atMs nowMs: Int64) -> Int64? {
        state.withLock { state in state.acknowledgedMs.map { nowMs - $0 } }
    }

    /// What is wrong, for readiness; nil: nothing, or nothing is known yet.
    /// - Parameter consequence: what does not happen meanwhile, as a clause: `pushes are held`.
    public func complaint(atMs nowMs: Int64, consequence: String) -> String? {
        let (state, isOpen) = state.withLock { ($0, self.isOpen($0, nowMs)) }
        guard !isOpen, state.acknowledgedMs != nil || state.refusal != nil else { return nil }
        let what =
            if state.isEvicted {
                "the group has excluded this member"
            } else if let last = state.acknowledgedMs {
                "the group's coordinator has acknowledged no commit for \((nowMs - last) / 1000) s"
            } else {
                "no commit is acknowledged"
            }
        return "\(what); \(consequence)\(state.refusal.map { " (\($0))" } ?? "")"
    }
}
