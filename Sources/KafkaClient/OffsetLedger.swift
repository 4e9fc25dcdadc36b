import DequeModule

/// Tracks which records of a partition are done when they finish out of order. The commit is the contiguous prefix. A
/// pure value. Every operation is O(1) amortised, except for a record that is completed far from its place: O(log n).
public struct OffsetLedger: Sendable {
    /// Records that were taken and are not below the commit yet, ascending.
    private var entries: Deque<(offset: Int64, isDone: Bool)> = []
    /// The offset to commit. Everything below it is done. It never decreases.
    public private(set) var committable: Int64
    /// The offset after the newest record that was taken.
    public private(set) var next: Int64
    /// Number of records that were taken and are not done.
    public private(set) var inFlight = 0

    /// - Parameter start: the first offset that will be read.
    public init(start: Int64) {
        committable = start
        next = start
    }

    /// Distance from the oldest open record to the newest taken record, in offsets.
    public var span: Int64 { entries.first.map { next - $0.offset } ?? 0 }

    /// Call it when a record was read. Offsets ascend. Gaps (compaction, transactions) need no special case, because
    /// the ledger waits only for records that it got. An offset below ``next`` was taken before and is ignored.
    public mutating func take(_ offset: Int64) {
        guard offset >= next else { return }
        // Nothing is open, so a gap before this record contains no open record.
        if entries.isEmpty { committable = offset }
        entries.append((offset, false))
        inFlight += 1
        next = offset + 1
    }

    /// Call it when the outcome of a record is on the log. Repeated calls have no effect, and unknown offsets are
    /// ignored.
    public mutating func complete(_ offset: Int64) {
        guard let index = index(of: offset), !entries[index].isDone else { return }
        entries[index].isDone = true
        inFlight -= 1
        while let first = entries.first, first.isDone {
            entries.removeFirst()
            committable = entries.first?.offset ?? next
        }
    }

    /// Gives up all open records, so that they are read again. Used when a drain has reached its time limit.
    /// - Returns: the open offsets, ascending. The commit does not change.
    public mutating func reset() -> [Int64] {
        let open = entries.filter { !$0.isDone }.map(\.offset)
        entries.removeAll()
        inFlight = 0
        next = committable
        return open
    }

    private func index(of offset: Int64) -> Int? {
        // Without gaps an offset stands at its distance from the first.
        guard let first = entries.first?.offset, offset >= first else { return nil }
        let guess = Int(offset - first)
        if guess < entries.count, entries[guess].offset == offset { return guess }
        var low = 0
        var high = min(guess, entries.count - 1)
        while low <= high {
            let middle = (low + high) / 2
            if entries[middle].offset == offset { return middle }
            if entries[middle].offset < offset { low = middle + 1 } else { high = middle - 1 }
        }
        return nil
    }
}
