/// The moment at which a record is folded.
struct FoldTime: Sendable, Hashable {
    /// The tracker's own clock: looks like epoch milliseconds, runs monotonically.
    let localMs: Int64
    /// The wall clock, epoch milliseconds: what records are stamped with.
    let wallMs: Int64
    /// The record is older than this assignment: its own time counts, within bounds, instead of the moment it is read.
    let isReplay: Bool

    init(localMs: Int64, wallMs: Int64, isReplay: Bool = false) {
        self.localMs = localMs
        self.wallMs = wallMs
        self.isReplay = isReplay
    }

    /// An epoch time on the tracker's clock.
    func local(_ epochMs: Int64) -> Int64 { epochMs &+ (localMs - wallMs) }

    /// A time of the tracker's clock as epoch milliseconds.
    func wall(_ localMs: Int64) -> Int64 { localMs &+ (wallMs - self.localMs) }

    /// When a fact happened, on the tracker's clock: now, or on replay what its record says, never in the future and at
    /// most two hours (the retention) ago.
    func of(_ recordedMs: Int64) -> Int64 {
        guard isReplay, recordedMs > 0 else { return localMs }
        return min(max(local(recordedMs), localMs - 7_200_000), localMs)
    }
}
