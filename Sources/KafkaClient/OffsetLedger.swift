import DequeModule

/// Which records of a partition are done, when they are done out of order: the commit is the contiguous prefix.
/// A pure value; every operation is O(1) amortised, but for a record completed far from its place: O(log n).
public struct OffsetLedger: Sendable {
    /// Taken and not yet below the commit, ascending.
    private var entries: Deque<(offset: Int64, isDone: Bool)> = []
    /// The offset to commit: everything below it is done. Only ever grows.
    public private(set) var committable: Int64
    /// The offset behind the newest record taken.
    public private(set) var next: Int64
    /// Records taken and not done.
    public private(set) var inFlight = 0

    /// - Parameter start: the first offset that will be read.
    public init(start: Int64) {
        committable = start
        next = start
    }

    /// From the oldest open record to the newest taken, in offsets.
    public var span: Int64 { entries.first.map { next - $0.offset } ?? 0 }

    /// A record was read. Offsets ascend; gaps (compaction, transactions) need no case, for only what was received is
    /// waited for. An offset below ``next`` was taken before and is ignored.
    public mutating func take(_ offset: Int64) {
        guard offset >= next else { return }
        // Nothing is open, so a gap in front of this record holds nothing either.
        if entries.isEmpty { committable = offset }
        entries.append((offset, false))
        inFlight += 1
        next = offset + 1
    }

    /// A record's outcome is on the log. Twice is once; an offset never taken is ignored.
    public mutating func complete(_ offset: Int64) {
        guard let index = index(of: offset), !entries[index].isDone else { return }
        entries[index].isDone = true
        inFlight -= 1
        while let first = entries.first, first.isDone {
            entries.removeFirst()
            committable = entries.first?.offset ?? next
        }
    }

    /// Gives up everything open, so that it is read again: on a drain that ran into its bound.
    /// - Returns: the open offsets, ascending. The commit stays where it is.
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
