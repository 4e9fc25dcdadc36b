/// When the outbox makes the role unready.
public struct OutboxLimits: Sendable, Hashable {
    /// Rows waiting. Default 50,000.
    public var rows = 50_000
    /// Age of the oldest dispatch waiting, while nothing at all is acknowledged for as long. Default 15 s: far more
    /// than a relay that works ever needs.
    public var oldestDispatch: Duration = .seconds(15)

    public init() {}

    /// Why the outbox is not well; nil: it is.
    /// - Parameter oldestDispatchAgeMs: nil: no dispatch waits.
    func complaint(rows: Int, oldestDispatchAgeMs: Int64?) -> String? {
        if rows > self.rows { return "\(rows) rows wait for Kafka; the limit is \(self.rows)" }
        if let age = oldestDispatchAgeMs, Duration.milliseconds(age) > oldestDispatch {
            return
                "the oldest dispatch has waited for \(age / 1000) s; the limit is \(oldestDispatch.components.seconds) s"
        }
        return nil
    }
}
