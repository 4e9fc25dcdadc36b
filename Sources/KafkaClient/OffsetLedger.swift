/// Which records of a partition are done, when they are done out of order: the commit is the contiguous prefix.
/// A pure value.
public struct OffsetLedger: Sendable {
    /// - Parameter start: the first offset that will be read.
    public init(start: Int64) { preconditionFailure("skeleton") }

    /// The offset to commit: everything below it is done. Only ever grows.
    public var committable: Int64 { preconditionFailure("skeleton") }
    /// Records taken and not done.
    public var inFlight: Int { preconditionFailure("skeleton") }
    /// From the oldest open record to the newest taken, in offsets.
    public var span: Int64 { preconditionFailure("skeleton") }
    /// The offset behind the newest record taken.
    public var next: Int64 { preconditionFailure("skeleton") }

    /// A record was read. Offsets ascend; gaps (compaction, transactions) need no case.
    public mutating func take(_ offset: Int64) {}
    /// A record's outcome is on the log. Twice is once; an offset never taken is ignored.
    public mutating func complete(_ offset: Int64) {}
    /// Gives up everything open, so that it is read again: on a drain that ran into its bound.
    public mutating func reset() -> [Int64] { preconditionFailure("skeleton") }
}
