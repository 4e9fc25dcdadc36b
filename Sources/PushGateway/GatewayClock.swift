import Wire

/// The wall clock, and a steady clock that is never set.
struct GatewayClock: Sendable {
    /// Epoch milliseconds.
    var nowMs: @Sendable () -> Int64
    /// Milliseconds since an unspecified time in the past. This clock counts also while the machine is suspended.
    var steadyMs: @Sendable () -> Int64 = { Timestamp.steadyMs() }

    static let system = GatewayClock(nowMs: { Timestamp.nowMs() })
}
