import Foundation

/// The two times of one instant. What is compared with a record uses the first, what is waited for the second, so that a
/// clock set right or wrong stops no timer.
struct Moment: Hashable, Sendable {
    /// Epoch milliseconds.
    var epochMs: Int64
    /// Milliseconds that never go back and count while the machine or the process sleeps.
    var steadyMs: Int64

    static func now() -> Moment {
        var epoch = timespec()
        var steady = timespec()
        clock_gettime(CLOCK_REALTIME, &epoch)
        #if os(Linux)
            clock_gettime(CLOCK_BOOTTIME, &steady)
        #else
            clock_gettime(CLOCK_MONOTONIC, &steady)
        #endif
        return Moment(epochMs: milliseconds(epoch), steadyMs: milliseconds(steady))
    }

    private static func milliseconds(_ time: timespec) -> Int64 {
        Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}

extension Duration {
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
