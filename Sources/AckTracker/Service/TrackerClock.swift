import ChallengeModel
import Wire

/// The tracker's own clock. It starts at the wall clock's time and then runs monotonically, so that a step of the wall
/// clock neither fires nor delays timers.
struct TrackerClock: Sendable {
    private let start = ContinuousClock.now
    private let startMs = Timestamp.nowMs()

    func now() -> FoldTime {
        FoldTime(localMs: startMs + (ContinuousClock.now - start).wholeMilliseconds, wallMs: Timestamp.nowMs())
    }
}
