import PushGateway
import Synchronization

/// Whether pushes may start: only while the broker has acknowledged a commit of ours lately. A worker that was frozen or
/// cut off may have lost its partitions without knowing.
final class CommitGate: Sendable {
    private let freshnessMs: Int64
    /// When the last acknowledged commit was sent, in steady milliseconds; `min`: none since the assignment.
    private let acknowledged = Atomic(Int64.min)
    /// Counts assignments and their ends.
    private let term = Atomic(0)

    init(freshnessMs: Int64) { self.freshnessMs = freshnessMs }

    /// - Parameter sentAtSteadyMs: when the commit left, for only then were we certainly members.
    func acknowledge(sentAtSteadyMs: Int64) { acknowledged.store(sentAtSteadyMs, ordering: .releasing) }

    /// An assignment begins or has ended: nothing is pushed before the first commit, and what was handed over before stays.
    func shut() {
        term.add(1, ordering: .releasing)
        acknowledged.store(.min, ordering: .releasing)
    }

    func isOpen(steadyMs: Int64) -> Bool {
        let last = acknowledged.load(ordering: .acquiring)
        return last != .min && steadyMs - last <= freshnessMs
    }

    /// Nil: none since the assignment.
    func ageMs(steadyMs: Int64) -> Int64? {
        let last = acknowledged.load(ordering: .acquiring)
        return last == .min ? nil : steadyMs - last
    }

    /// For the pushes of the assignment that has begun: they leave only while the gate is open, and not after its end.
    func permit() -> any PushPermit { Permit(gate: self, term: term.load(ordering: .acquiring)) }

    private final class Permit: PushPermit {
        private let gate: CommitGate
        private let term: Int

        init(gate: CommitGate, term: Int) {
            self.gate = gate
            self.term = term
        }

        var isValid: Bool {
            gate.term.load(ordering: .acquiring) == term && gate.isOpen(steadyMs: Moment.now().steadyMs)
        }
    }
}
