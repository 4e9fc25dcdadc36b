#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The wall clock, and one that nobody sets.
struct GatewayClock: Sendable {
    /// Epoch milliseconds.
    var nowMs: @Sendable () -> Int64
    /// Milliseconds since some time in the past, a suspended machine's as well.
    var steadyMs: @Sendable () -> Int64 = {
        #if os(Linux)
            milliseconds(CLOCK_BOOTTIME)
        #else
            milliseconds(CLOCK_MONOTONIC)
        #endif
    }

    static let system = GatewayClock(nowMs: { milliseconds(CLOCK_REALTIME) })

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
