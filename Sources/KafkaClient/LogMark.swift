/// Facts about a partition's log, to recognise whether it is still the same log: while it is read, a topic may be
/// deleted and created again, and an unclean election may cut a log. librdkafka 2.0.2 gives no topic ids. A pure value.
/// Three values never decrease while a log is the same, whatever retention deletes: the offset of the next record, the
/// end, and the first offset whose record is younger than all records read.
struct LogMark: Hashable, Sendable {
    /// The offset after the newest record that was read.
    private(set) var next: Int64
    /// The newest timestamp that was read, in epoch milliseconds; -1: none.
    private(set) var newestMs: Int64 = -1
    private var end: Int64 = 0
    private var firstYounger: Int64 = 0
    private var isDoubted = false
    /// True when the log is not the one that was read. This is final: a new reader begins with a new mark.
    private(set) var isRewritten = false

    /// - Parameter start: the offset at which reading begins; 0 when it is unknown.
    init(start: Int64) { next = max(0, start) }

    /// Continues at another offset of the same log.
    mutating func move(to offset: Int64) { next = max(0, offset) }

    /// Call it for each record from the partition's queue.
    mutating func read(offset: Int64, timestampMs: Int64) {
        if offset < next { isRewritten = true }
        next = offset + 1
        newestMs = max(newestMs, timestampMs)
    }

    /// Call it when everything below this offset was returned.
    mutating func reachedEnd(_ offset: Int64) {
        if offset < next { isRewritten = true }
    }

    /// Compares an answer of Kafka with the mark. One answer that is too small may be a mistake; two in a row mean
    /// another log.
    /// - Parameters:
    ///   - end: the end of the log.
    ///   - firstYounger: the first offset whose record is younger than ``newestMs``; nil: there is none.
    ///   - mark: this mark at the time of the query.
    mutating func compare(end: Int64, firstYounger: Int64?, asked mark: LogMark) {
        let younger = firstYounger ?? end
        guard end >= max(mark.next, mark.end), younger >= mark.firstYounger else {
            isRewritten = isRewritten || isDoubted
            isDoubted = true
            return
        }
        isDoubted = false
        self.end = max(self.end, end)
        self.firstYounger = max(self.firstYounger, younger)
    }
}
