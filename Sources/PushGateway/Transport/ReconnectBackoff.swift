import NIOCore
import Wire

/// When the next connection may be opened after failures. Providers treat connections opened and closed in a loop as an
/// attack.
struct ReconnectBackoff: Equatable {
    private var backoff: Backoff
    /// No connection is opened before.
    private(set) var readyAt = NIODeadline.uptimeNanoseconds(0)

    /// From 100 ms to 5 s: a circuit's probe comes every 6 s, and each is to find that a connection may be opened.
    static let connections = ReconnectBackoff(Backoff(first: .milliseconds(100), most: .seconds(5)))
    /// After streams that were refused twice: a peer that does not take them is not asked more often than this.
    static let refusals = ReconnectBackoff(Backoff(first: .seconds(2), most: .seconds(60)))

    private init(_ backoff: Backoff) { self.backoff = backoff }

    /// The longest wait.
    var most: Duration { backoff.most }

    /// One that ends before ``readyAt`` was opened before the last failure, with others, and tells nothing new.
    ///
    /// - Parameter random: in 0..<1.
    mutating func failed(now: NIODeadline, random: Double) {
        guard now >= readyAt else { return }
        readyAt = now + .nanoseconds(backoff.failed(random: random).wholeNanoseconds)
    }

    mutating func succeeded() {
        backoff.succeeded()
        readyAt = .uptimeNanoseconds(0)
    }
}
