import Wire

/// The wall clock, and one that nobody sets.
struct GatewayClock: Sendable {
    /// Epoch milliseconds.
    var nowMs: @Sendable () -> Int64
    /// Milliseconds since some time in the past, a suspended machine's as well.
    var steadyMs: @Sendable () -> Int64 = { Timestamp.steadyMs() }

    static let system = GatewayClock(nowMs: { Timestamp.nowMs() })
}
