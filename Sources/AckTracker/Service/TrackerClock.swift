import ChallengeModel
import Wire

/// The tracker's own clock: starts at the wall clock's time and runs monotonically from there, so that a step of the wall
/// clock fires no timers and holds none back.
struct TrackerClock: Sendable {
    private let start = ContinuousClock.now
    private let startMs = Timestamp.nowMs()

    func now() -> FoldTime {
        FoldTime(localMs: startMs + (ContinuousClock.now - start).wholeMilliseconds, wallMs: Timestamp.nowMs())
    }
}
