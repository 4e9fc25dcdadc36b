import Wire

/// The lanes of the outbox: every key is in one, and each is read by one relay at a time, so that a key's records leave
/// in order.
enum OutboxLanes {
    /// Fixed: another number would move keys to other lanes.
    static let count = 48

    /// FNV-1a over the key's UTF-8, of our own: the server's hash functions differ between its versions.
    static func lane(of key: String) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in key.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        // The lower bits of a product mix the last bytes only.
        return Int((hash ^ (hash >> 32)) % UInt64(count))
    }
}

/// What one relay owns and holds: without I/O.
///
/// Ids are drawn before their transactions end, so that a lower id can become visible after a higher one. ``lowest`` is
/// the lowest that still can. A row that is not visible yet, with a lower id than one that a read showed, belongs to a
/// transaction that was there at that read: every writer has its transaction's number before it draws an id. Numbers
/// ascend, so this one is below every number that is given out after the read, such as that of our own next write. Once
/// all transactions below that number have ended, nothing can appear below what the read showed. The upper bound of the
/// read's own snapshot is no such number: transactions above it may have been under way.
struct OutboxOwner {
    /// Lanes and the epoch in which they became ours.
    private(set) var lanes: [Int: Int64] = [:]
    /// To be given back once nothing of them is held.
    private(set) var surplus: Set<Int> = []
    /// Rows handed out, and their lanes.
    private(set) var held: [Int64: Int] = [:]
    /// When the last renewal was sent; nil: there was none.
    private(set) var renewedAt: ContinuousClock.Instant?
    /// Of the last renewal. Milliseconds.
    private(set) var leaseMs: Int64 = 0
    /// Relays that are there, this one too.
    private(set) var relays = 1
    /// What reads have shown, in their order. `upperBound`: a transaction number that was given out after them; nil:
    /// none is known yet.
    private var seen: [(read: Int, upperBound: Int64?, highest: Int64)] = []
    /// The number of the last read.
    private var reads = 0
    /// Reads up to here have a write of ours under way behind them.
    private var followed = 0
    private var highest: Int64 = 0
    /// Every lower id is visible or will never be.
    private(set) var lowest: Int64 = 1

    var share: Int { (OutboxLanes.count + relays - 1) / relays }

    /// Whether a renewal is due: every 2 s, and at once for lanes that are missing.
    func isDue(leaseMs: Int64, now: ContinuousClock.Instant) -> Bool {
        guard let renewedAt else { return true }
        let age = now - renewedAt
        // A fifth of a lease that is shorter than ours is in a test only.
        if age >= min(.seconds(2), .milliseconds(leaseMs) / 5) { return true }
        return lanes.count - surplus.count < share && age >= .milliseconds(500)
    }

    /// Lanes to give back now.
    var free: [Int] {
        let busy = Set(held.values)
        return surplus.filter { !busy.contains($0) }.sorted()
    }

    /// - Parameters:
    ///   - lanes: those that are ours now, without what was given back.
    ///   - relays: that were alive.
    mutating func renewed(
        _ lanes: [Int: Int64], relays: Int, leaseMs: Int64, sentAt: ContinuousClock.Instant
    ) {
        let (former, formerSurplus) = (self.lanes, surplus)
        self.lanes = lanes
        self.relays = max(relays, 1)
        self.leaseMs = leaseMs
        renewedAt = sentAt
        surplus.formIntersection(lanes.keys)
        let excess = lanes.count - share
        if excess <= 0 { surplus = [] }
        while surplus.count > excess, let lane = surplus.min() { surplus.remove(lane) }
        let busy = Set(held.values)
        // Those of which nothing is held first.
        for lane in lanes.keys.sorted(by: { (busy.contains($0) ? 1 : 0, $0) < (busy.contains($1) ? 1 : 0, $1) })
        where surplus.count < excess { surplus.insert(lane) }
        // What waits in lanes that were not read until now is older than what was read.
        if lanes.contains(where: { former[$0.key] != $0.value })
            || !formerSurplus.subtracting(surplus).isDisjoint(with: lanes.keys)
        {
            lowest = 1
            seen = []
        }
    }

    /// When what is handed out now is somebody else's to take. Epoch milliseconds, of the clock of `nowMs`.
    func leaseEndsMs(nowMs: Int64, now: ContinuousClock.Instant) -> Int64 {
        guard let renewedAt else { return nowMs }
        return nowMs + leaseMs - (now - renewedAt).wholeMilliseconds
    }

    /// Whether a row may be handed out.
    func mayHandOut(_ id: Int64, lane: Int, epoch: Int64) -> Bool {
        held[id] == nil && lanes[lane] == epoch && !surplus.contains(lane)
    }

    mutating func handOut(_ id: Int64, lane: Int) { held[id] = lane }
    mutating func settled(_ ids: [Int64]) { for id in ids { held[id] = nil } }

    /// A snapshot was read, from ``lowest`` to its end or as far as the relay could take; the relay reads on from
    /// there.
    /// - Parameters:
    ///   - lowerBound: transactions below had ended.
    ///   - highest: the highest id in it; nil: it showed none.
    mutating func read(lowerBound: Int64, highest id: Int64?) {
        highest = max(highest, id ?? 0)
        while let first = seen.first, let upperBound = first.upperBound, upperBound <= lowerBound {
            lowest = max(lowest, first.highest + 1)
            seen.removeFirst()
        }
        reads += 1
        if let last = seen.last, last.read > followed {
            seen[seen.count - 1] = (reads, nil, highest)
        } else if seen.count < 1000 {
            seen.append((reads, nil, highest))
        }
    }

    /// A write of ours begins.
    /// - Returns: the number of the last read, for ``wrote(_:after:)``.
    mutating func willWrite() -> Int {
        followed = reads
        return reads
    }

    /// A write of ours had this transaction number.
    /// - Parameter read: as ``willWrite()`` returned it.
    mutating func wrote(_ number: Int64, after read: Int) {
        for index in seen.indices where seen[index].read <= read && seen[index].upperBound == nil {
            seen[index].upperBound = number
        }
    }
}
