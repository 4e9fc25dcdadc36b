import NIOCore

/// How long to wait before the next connection after failures: doubling from 100 ms to 5 s, half of it random, so that
/// many workers do not come back in step. Providers treat connections opened and closed in a loop as an attack.
///
/// 5 s: a circuit's probe comes every 6 s, and each is to find that a connection may be opened.
struct ReconnectBackoff: Equatable {
    let first: TimeAmount
    let most: TimeAmount

    /// After streams that were refused twice: a peer that does not take them is not asked more often than this.
    static let refusals = ReconnectBackoff(first: .seconds(2), most: .seconds(60))

    private(set) var failures = 0
    /// No connection is opened before.
    private(set) var readyAt = NIODeadline.uptimeNanoseconds(0)

    init(first: TimeAmount = .milliseconds(100), most: TimeAmount = .seconds(5)) {
        self.first = first
        self.most = most
    }

    /// One that ends before ``readyAt`` was opened before the last failure, with others, and tells nothing new.
    ///
    /// - Parameter random: in 0..<1.
    mutating func failed(now: NIODeadline, random: Double) {
        guard now >= readyAt else { return }
        failures += 1
        let doubled = first.nanoseconds << Int64(min(failures - 1, 10))
        let whole = min(doubled, most.nanoseconds)
        readyAt = now + .nanoseconds(whole / 2 + Int64(Double(whole / 2) * random))
    }

    mutating func succeeded() {
        failures = 0
        readyAt = .uptimeNanoseconds(0)
    }
}
