import Challenges

/// When the outbox makes the role unready.
public struct OutboxLimits: Sendable, Hashable {
    /// Rows waiting. Default 50,000.
    public var rows = 50_000
    /// Age of the oldest dispatch waiting, while nothing at all is acknowledged for as long. Default 15 s: far more
    /// than a relay that works ever needs.
    public var oldestDispatch: Duration = .seconds(15)

    public init() {}

    /// Why the outbox is not well; nil: it is.
    ///
    /// While anything is acknowledged the others go on: one partition that is away must not take the whole API away. How
    /// long nothing was acknowledged is measured until the count, which can be some seconds old: what waited then may be
    /// gone, and an outbox that is empty and quiet is well.
    /// - Parameter acknowledgedAt: when a record was acknowledged last, or the relay began.
    func complaint(_ count: OutboxCount, acknowledgedAt: ContinuousClock.Instant, nowMs: Int64) -> String? {
        if count.rows > rows { return "\(count.rows) rows wait for Kafka; the limit is \(rows)" }
        guard let oldest = count.oldestDispatchMs else { return nil }
        let stalled = min(.milliseconds(nowMs - oldest), count.countedAt - acknowledgedAt)
        guard stalled > oldestDispatch else { return nil }
        let (seconds, limit) = (stalled.components.seconds, oldestDispatch.components.seconds)
        return "the oldest dispatch has waited for \(seconds) s; the limit is \(limit) s"
    }
}
