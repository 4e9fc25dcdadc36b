import NIOCore

/// How long to wait before the next connection after failures: doubling from 100 ms to 10 s, half of it random, so that
/// many workers do not come back in step. Providers treat connections opened and closed in a loop as an attack.
struct ReconnectBackoff: Equatable {
    static let first = TimeAmount.milliseconds(100)
    static let most = TimeAmount.seconds(10)

    private(set) var failures = 0
    /// No connection is opened before.
    private(set) var readyAt = NIODeadline.uptimeNanoseconds(0)

    /// - Parameter random: in 0..<1.
    mutating func failed(now: NIODeadline, random: Double) {
        failures += 1
        let doubled = Self.first.nanoseconds << Int64(min(failures - 1, 10))
        let whole = min(doubled, Self.most.nanoseconds)
        readyAt = now + .nanoseconds(whole / 2 + Int64(Double(whole / 2) * random))
    }

    mutating func succeeded() { self = ReconnectBackoff() }
}
