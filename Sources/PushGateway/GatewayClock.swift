#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The wall clock, as epoch milliseconds.
struct GatewayClock: Sendable {
    var nowMs: @Sendable () -> Int64

    static let system = GatewayClock {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
