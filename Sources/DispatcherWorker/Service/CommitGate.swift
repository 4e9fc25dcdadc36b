import Synchronization

/// Whether pushes may start: only while the broker has acknowledged a commit of ours lately. A worker that was frozen or
/// cut off may have lost its partitions without knowing.
final class CommitGate: Sendable {
    private let freshnessMs: Int64
    /// When the last acknowledged commit was sent, in steady milliseconds; `min`: none since the assignment.
    private let acknowledged = Atomic(Int64.min)

    init(freshnessMs: Int64) { self.freshnessMs = freshnessMs }

    /// - Parameter sentAtSteadyMs: when the commit left, for only then were we certainly members.
    func acknowledge(sentAtSteadyMs: Int64) { acknowledged.store(sentAtSteadyMs, ordering: .releasing) }

    /// A new assignment begins: nothing is pushed before its first commit.
    func shut() { acknowledged.store(.min, ordering: .releasing) }

    func isOpen(steadyMs: Int64) -> Bool {
        let last = acknowledged.load(ordering: .acquiring)
        return last != .min && steadyMs - last <= freshnessMs
    }

    /// Nil: none since the assignment.
    func ageMs(steadyMs: Int64) -> Int64? {
        let last = acknowledged.load(ordering: .acquiring)
        return last == .min ? nil : steadyMs - last
    }
}
