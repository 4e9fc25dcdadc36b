/// Fingerprints that are forgotten at a time of their own, in bounded memory: a small open-addressing table per span of
/// time, dropped as a whole. About 12 bytes per fingerprint.
struct FingerprintSet: Sendable {
    private struct Span: Sendable {
        /// Forgotten at `(number + 1) * spanMs`.
        let number: Int64
        var table = FingerprintTable()
    }

    let spanMs: Int64
    private(set) var maxBytes: Int
    /// Ascending.
    private var spans: [Span] = []
    /// Forgotten before their time because memory ran out.
    private(set) var evicted = 0

    /// - Parameters:
    ///   - spanMs: how exact the time of forgetting is; it is never too early.
    ///   - maxBytes: beyond it the earliest are forgotten first.
    init(spanMs: Int64, maxBytes: Int) {
        self.spanMs = spanMs
        self.maxBytes = maxBytes
    }

    var count: Int { spans.reduce(0) { $0 + $1.table.count } }
    var bytes: Int { spans.reduce(0) { $0 + $1.table.bytes } }

    func contains(_ fingerprint: UInt64) -> Bool { spans.contains { $0.table.contains(fingerprint) } }

    mutating func insert(_ fingerprint: UInt64, untilMs: Int64) {
        let number = untilMs / spanMs
        var index = spans.firstIndex { $0.number >= number } ?? spans.count
        if index == spans.count || spans[index].number != number {
            spans.insert(Span(number: number), at: index)
        }
        if spans[index].table.contains(fingerprint) { return }
        if spans[index].table.isFull {
            let growth = max(spans[index].table.bytes, FingerprintTable.smallestBytes)
            while bytes + growth > maxBytes, spans.count > 1 || spans[0].table.count > 0 {
                // The last one standing is emptied, not dropped: it takes what comes.
                evicted += spans[0].table.count
                if spans.count == 1 || index == 0 {
                    spans[0].table = FingerprintTable()
                    break
                }
                spans.removeFirst()
                index -= 1
            }
        }
        spans[index].table.insert(fingerprint)
    }

    /// Forgets what is past.
    mutating func expire(nowMs: Int64) {
        while let first = spans.first, (first.number + 1) * spanMs <= nowMs { spans.removeFirst() }
    }

    mutating func limit(toBytes bytes: Int) { maxBytes = bytes }

    /// The evicted since the last call.
    mutating func takeEvicted() -> Int {
        defer { evicted = 0 }
        return evicted
    }
}

/// Open addressing, linear probing. Zero marks a free slot; the fingerprint zero is kept as one.
struct FingerprintTable: Sendable {
    static let smallestBytes = 64 * 8

    private var slots: [UInt64] = []
    private(set) var count = 0

    var bytes: Int { slots.count * 8 }

    /// The next insert doubles the table.
    var isFull: Bool { count * 8 >= slots.count * 7 }

    func contains(_ fingerprint: UInt64) -> Bool {
        guard count > 0 else { return false }
        let value = max(fingerprint, 1)
        let mask = slots.count - 1
        var index = Int(truncatingIfNeeded: value) & mask
        while slots[index] != 0 {
            if slots[index] == value { return true }
            index = (index + 1) & mask
        }
        return false
    }

    mutating func insert(_ fingerprint: UInt64) {
        if isFull { grow() }
        place(max(fingerprint, 1))
    }

    private mutating func place(_ value: UInt64) {
        let mask = slots.count - 1
        var index = Int(truncatingIfNeeded: value) & mask
        while slots[index] != 0 {
            if slots[index] == value { return }
            index = (index + 1) & mask
        }
        slots[index] = value
        count += 1
    }

    private mutating func grow() {
        let old = slots
        slots = [UInt64](repeating: 0, count: max(64, old.count * 2))
        count = 0
        for value in old where value != 0 { place(value) }
    }
}
