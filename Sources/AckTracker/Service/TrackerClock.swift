import ChallengeModel

/// The tracker's own clock: starts at the wall clock's time and runs monotonically from there, so that a step of the wall
/// clock fires no timers and holds none back.
struct TrackerClock: Sendable {
    private let start = ContinuousClock.now
    private let startMs = Timestamp.nowMs()

    func now() -> FoldTime {
        FoldTime(localMs: startMs + (ContinuousClock.now - start).milliseconds, wallMs: Timestamp.nowMs())
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
