import PushProviders
import Synchronization

/// Whether pushes may start: only while a commit that the broker has acknowledged was sent lately enough that nobody else can
/// own our partitions. A worker that was frozen or cut off may have lost them without knowing.
final class CommitGate: Sendable {
    private struct State {
        /// When the last acknowledged commit was sent, in steady milliseconds; nil: none since the assignment.
        var acknowledgedMs: Int64?
        /// Counts assignments and their ends.
        var term = 0
        /// The coordinator counts us out: no age says anything until the next assignment.
        var isEvicted = false
    }

    private let freshnessMs: Int64
    private let state = Mutex(State())

    /// - Parameter freshnessMs: how long a commit is good for from when it was sent.
    init(freshnessMs: Int64) { self.freshnessMs = freshnessMs }

    /// The assignment that a commit belongs to: read before it is sent.
    var term: Int { state.withLock { $0.term } }

    /// However late the answer comes, it says that we were members when the commit left; one of an assignment that has ended
    /// says nothing.
    /// - Parameter sentAtSteadyMs: when the commit left, for only then were we certainly members.
    /// - Returns: whether pushes may start that had to wait before.
    @discardableResult
    func acknowledge(sentAtSteadyMs: Int64, term: Int, steadyMs: Int64) -> Bool {
        state.withLock { state in
            guard state.term == term, !state.isEvicted else { return false }
            let wasOpen = isOpen(state, steadyMs)
            state.acknowledgedMs = max(state.acknowledgedMs ?? sentAtSteadyMs, sentAtSteadyMs)
            return !wasOpen && isOpen(state, steadyMs)
        }
    }

    /// A commit was refused because we are no longer members: nothing is pushed from now on.
    func evict(term: Int) {
        state.withLock { state in
            guard state.term == term else { return }
            state.isEvicted = true
        }
    }

    /// An assignment begins or has ended: nothing is pushed before the first commit, and what was handed over before stays.
    func shut() { state.withLock { $0 = State(term: $0.term + 1) } }

    func isOpen(steadyMs: Int64) -> Bool { state.withLock { isOpen($0, steadyMs) } }

    private func isOpen(_ state: State, _ steadyMs: Int64) -> Bool {
        guard let last = state.acknowledgedMs, !state.isEvicted else { return false }
        return steadyMs - last <= freshnessMs
    }

    /// Nil: none since the assignment.
    func ageMs(steadyMs: Int64) -> Int64? { state.withLock { state in state.acknowledgedMs.map { steadyMs - $0 } } }

    /// For the pushes of the assignment that has begun: they leave only while the gate is open, and not after its end.
    func permit() -> any PushPermit { Permit(gate: self, term: term) }

    private final class Permit: PushPermit {
        private let gate: CommitGate
        private let term: Int

        init(gate: CommitGate, term: Int) {
            self.gate = gate
            self.term = term
        }

        var isValid: Bool {
            let now = Moment.now().steadyMs
            return gate.state.withLock { $0.term == term && gate.isOpen($0, now) }
        }
    }
}
