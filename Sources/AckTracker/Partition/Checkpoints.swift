import DequeModule

/// Determines the positions to commit: a replay from them must restore everything that is held. A pure value.
/// A fact may be in the log before its challenge, by at most the lead. The commit is therefore a checkpoint that is
/// older, by the lead, than the time at which the oldest held challenge was read.
struct Checkpoints: Sendable {
    private struct Entry {
        let number: UInt32
        let atMs: Int64
        let positions: Positions
    }

    private var entries: Deque<Entry>
    private let leadMs: Int64

    /// The number of the newest checkpoint. Challenges that are read from now on are read after it.
    var newest: UInt32 { entries.last?.number ?? 0 }
    var count: Int { entries.count }

    /// The starting positions are the only checkpoint until the first ``take(_:atMs:)``.
    init(start: Positions, atMs: Int64, leadMs: Int64) {
        entries = [Entry(number: 0, atMs: atMs, positions: start)]
        self.leadMs = leadMs
    }

    /// Records the current positions. Call it only after the assignment has caught up.
    mutating func take(_ positions: Positions, atMs: Int64) {
        entries.append(Entry(number: newest + 1, atMs: atMs, positions: positions))
    }

    /// Call it when the topic has a new log. Every replay then reads it from its start.
    mutating func startOver(_ topic: Int) {
        entries = Deque(
            entries.map { entry in
                var positions = entry.positions
                positions[topic] = 0
                return Entry(number: entry.number, atMs: entry.atMs, positions: positions)
            })
    }

    /// The positions to commit; older checkpoints are dropped, for commits never go back.
    /// - Parameter oldestRead: the checkpoint at which the oldest held challenge was read; nil: none is held.
    mutating func committable(oldestRead: UInt32?, nowMs: Int64) -> Positions {
        var referenceMs = nowMs
        if let oldestRead, let entry = entries.first(where: { $0.number >= oldestRead }) { referenceMs = entry.atMs }
        while entries.count > 1, entries[1].atMs <= referenceMs - leadMs { entries.removeFirst() }
        return entries[0].positions
    }
}
