import Wire

/// The two times of one instant. What is compared with a record uses the first, what is waited for the second, so that a
/// clock set right or wrong stops no timer.
struct Moment: Hashable, Sendable {
    /// Epoch milliseconds.
    var epochMs: Int64
    /// Milliseconds that never go back and count while the machine or the process sleeps.
    var steadyMs: Int64

    static func now() -> Moment { Moment(epochMs: Timestamp.nowMs(), steadyMs: Timestamp.steadyMs()) }
}
