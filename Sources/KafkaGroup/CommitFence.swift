public import KafkaClient
import Synchronization
import Wire

/// The result of a commit.
public enum CommitAnswer: Sendable {
    /// - Parameter isOpening: the fence was closed, and this answer has opened it.
    case acknowledged(isOpening: Bool)
    /// Normal inside a rebalance. ``KafkaError/isEviction`` says whether the group has excluded the member.
    case refused(KafkaError)
}

/// Decides whether a member of a group may still act on its partitions. It may, as long as its last acknowledged commit
/// was sent so recently that no other member can own the partitions. A process that was frozen or disconnected may have
/// lost its partitions without noticing (docs/decisions/0013).
/// Times are in milliseconds of a clock that never goes back and that counts while the machine sleeps.
public final class CommitFence: Sendable {
    private struct State {
        /// Time at which the last acknowledged commit was sent; nil: none since the assignment.
        var acknowledgedMs: Int64?
        /// Counts the beginnings and ends of assignments.
        var term = 0
        /// True when the coordinator has excluded this member. The age of a commit then means nothing until the next
        /// assignment.
        var isEvicted = false
        /// The error of the last commit; nil when it was acknowledged, or when none was sent since the assignment.
        var refusal: KafkaError?
    }

    /// How long a commit allows work, counted from the time it was sent.
    public let freshFor: Duration
    private let freshMs: Int64
    private let steadyMs: @Sendable () -> Int64
    private let state = Mutex(State())

    /// - Parameters:
    ///   - freshFor: see ``KafkaConfiguration/ownershipFence``.
    ///   - steadyMs: the clock.
    public init(freshFor: Duration, steadyMs: @escaping @Sendable () -> Int64) {
        self.freshFor = freshFor
        freshMs = freshFor.wholeMilliseconds
        self.steadyMs = steadyMs
    }

    /// The number of the current assignment. Read it before you collect the offsets of a commit.
    public var term: Int { state.withLock { $0.term } }

    /// Commits, and records what the answer says about the membership. An acknowledgement counts from the time the
    /// commit was sent, however late it comes.
    /// - Parameters:
    ///   - term: the ``term`` of the assignment that the offsets belong to. If the assignment has ended, the answer is
    ///     ignored.
    ///   - deadline: longest wait for the answer. A later answer is ignored.
    public func commit(
        _ offsets: [TopicPartition: CommittedOffset], by consumer: KafkaConsumer, term: Int, deadline: Duration
    ) async -> CommitAnswer {
        // The partitions of an assignment that has ended may belong to another member now.
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

    /// - Parameter sentAtMs: the time at which the commit was sent, because this process was certainly a member at that
    ///   time.
    /// - Returns: whether the fence was closed before, so that waiting work may start.
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

    /// Call it when a commit was refused. If this process is no longer a member, the fence closes.
    func refuse(_ error: KafkaError, term: Int) {
        state.withLock { state in
            guard state.term == term else { return }
            state.refusal = error
            if error.isEviction { state.isEvicted = true }
        }
    }

    /// Call it when an assignment begins or ends. The fence is then closed until the first acknowledged commit.
    public func shut() { state.withLock { $0 = State(term: $0.term + 1) } }

    public func isOpen(atMs nowMs: Int64) -> Bool { state.withLock { isOpen($0, nowMs) } }

    /// Whether the fence is open for this assignment. Use it for work that began earlier.
    public func isOpen(term: Int, atMs nowMs: Int64) -> Bool {
        state.withLock { $0.term == term && isOpen($0, nowMs) }
    }

    private func isOpen(_ state: borrowing State, _ nowMs: Int64) -> Bool {
        guard let last = state.acknowledgedMs, !state.isEvicted else { return false }
        return nowMs - last <= freshMs
    }

    /// Milliseconds since the last acknowledged commit was sent; nil: none since the assignment.
    public func ageMs(atMs nowMs: Int64) -> Int64? {
        state.withLock { state in state.acknowledgedMs.map { nowMs - $0 } }
    }

    /// The fault for the readiness check; nil when there is none, or none is known yet.
    /// - Parameter consequence: the effect of the fault, as a clause: `pushes are held`.
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
