/// The challenges held, found by SID. Chunks of a fixed size, so that growing never copies what is there; an index of
/// four bytes per place (open addressing, at most three quarters full).
struct HeldTable: Sendable {
    private static let chunkBits: UInt32 = 9
    private static let chunkSize = 1 << 9

    private var chunks: [ContiguousArray<Held>] = []
    private var freed: [UInt32] = []
    private var used: UInt32 = 0
    /// Slot + 1; 0: empty.
    private var index = ContiguousArray<UInt32>(repeating: 0, count: 64)
    private(set) var count = 0

    subscript(slot: UInt32) -> Held {
        _read { yield chunks[Int(slot >> Self.chunkBits)][Int(slot) & (Self.chunkSize - 1)] }
        _modify { yield &chunks[Int(slot >> Self.chunkBits)][Int(slot) & (Self.chunkSize - 1)] }
    }

    func find(_ sid: PackedSID) -> UInt32? {
        var at = home(sid)
        while index[at] != 0 {
            let slot = index[at] - 1
            if self[slot].sid == sid { return slot }
            at = (at + 1) & (index.count - 1)
        }
        return nil
    }

    /// `held.sid` must not be there yet.
    mutating func insert(_ held: Held) -> UInt32 {
        if (count + 1) * 4 > index.count * 3 { rehash(index.count * 2) }
        let slot: UInt32
        if let reused = freed.popLast() {
            slot = reused
            self[slot] = held
        } else {
            slot = used
            used += 1
            if Int(slot) & (Self.chunkSize - 1) == 0 {
                var chunk = ContiguousArray<Held>()
                chunk.reserveCapacity(Self.chunkSize)
                chunks.append(chunk)
            }
            chunks[Int(slot >> Self.chunkBits)].append(held)
        }
        place(slot, held.sid)
        count += 1
        return slot
    }

    mutating func remove(_ slot: UInt32) {
        let sid = self[slot].sid
        var hole = home(sid)
        while index[hole] != slot + 1 { hole = (hole + 1) & (index.count - 1) }
        // Closes the gap: whoever stands behind it and belongs before it moves up.
        var at = (hole + 1) & (index.count - 1)
        while index[at] != 0 {
            let wanted = home(self[index[at] - 1].sid)
            if (at &- wanted) & (index.count - 1) >= (at &- hole) & (index.count - 1) {
                index[hole] = index[at]
                hole = at
            }
            at = (at + 1) & (index.count - 1)
        }
        index[hole] = 0
        self[slot] = Held(sid: sid, anchorMs: 0)
        freed.append(slot)
        count -= 1
        if index.count > 1024, count * 8 < index.count { rehash(index.count / 2) }
    }

    /// Every slot in use, in no particular order.
    var slots: [UInt32] { index.compactMap { $0 == 0 ? nil : $0 - 1 } }

    private func home(_ sid: PackedSID) -> Int { Int(truncatingIfNeeded: sid.mixed()) & (index.count - 1) }

    private mutating func place(_ slot: UInt32, _ sid: PackedSID) {
        var at = home(sid)
        while index[at] != 0 { at = (at + 1) & (index.count - 1) }
        index[at] = slot + 1
    }

    private mutating func rehash(_ size: Int) {
        let slots = slots
        index = ContiguousArray(repeating: 0, count: size)
        for slot in slots { place(slot, self[slot].sid) }
    }
}
