import Wire

/// The two times of one instant. Comparisons with records use the first, waits use the second, so that a change of the
/// clock affects no timer.
struct Moment: Hashable, Sendable {
    /// Epoch milliseconds.
    var epochMs: Int64
    /// Milliseconds that never go back and count while the machine or the process sleeps.
    var steadyMs: Int64

    static func now() -> Moment { Moment(epochMs: Timestamp.nowMs(), steadyMs: Timestamp.steadyMs()) }
}
