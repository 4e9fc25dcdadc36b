import NIOCore

/// Whether a connection still lives: when it is asked by PING, and when it is taken for dead.
///
/// Counts the time that this process was there to listen, not the clock's: a dispatcher that was frozen for a minute
/// and woken has heard nothing for a minute, and knows nothing about its connections either.
struct ConnectionLife {
    enum Verdict { case alive, ask, dead }

    /// The most that one look counts: about the longest between two looks of a loop that runs.
    static let mostPerLook = TimeAmount.seconds(1)

    private var silence = TimeAmount.zero
    private var isAsked = false

    /// Anything came from the peer.
    mutating func received() { self = ConnectionLife() }

    /// - Parameters:
    ///   - elapsed: since the look before.
    ///   - patience: silence that is borne before asking.
    ///   - deadline: silence that is borne after asking.
    mutating func look(after elapsed: TimeAmount, patience: TimeAmount, deadline: TimeAmount) -> Verdict {
        silence = silence + min(elapsed, Self.mostPerLook)
        guard silence > (isAsked ? deadline : patience) else { return .alive }
        silence = .zero
        defer { isAsked = true }
        return isAsked ? .dead : .ask
    }
}
