/// What was seen of a partition's log, to tell whether it is still the same one: a topic may be deleted and made anew, and a log
/// may be cut by an unclean election, while it is read. librdkafka 2.0.2 gives no topic ids. A pure value.
///
/// Three answers never get smaller while a log stays the same, whatever retention deletes: the offset of the next record read, the
/// end, and the first offset whose record is younger than all that were read.
struct LogMark: Hashable, Sendable {
    /// The offset behind the newest record read.
    private(set) var next: Int64
    /// The newest time stamp read, epoch milliseconds; -1: none.
    private(set) var newestMs: Int64 = -1
    private var end: Int64 = 0
    private var firstYounger: Int64 = 0
    private var isDoubted = false
    /// It is another log than the one that was read. For good: a new reading begins with a new mark.
    private(set) var isRewritten = false

    /// - Parameter start: where reading begins; 0 where that is not known.
    init(start: Int64) { next = max(0, start) }

    /// Reading goes on at another place of the same log.
    mutating func move(to offset: Int64) { next = max(0, offset) }

    /// A record came out of the partition's queue.
    mutating func read(offset: Int64, timestampMs: Int64) {
        if offset < next { isRewritten = true }
        next = offset + 1
        newestMs = max(newestMs, timestampMs)
    }

    /// Everything below this offset was returned.
    mutating func reachedEnd(_ offset: Int64) {
        if offset < next { isRewritten = true }
    }

    /// Kafka was asked after `next` records were read. One answer that is too small may be a mistake; the second in a row is not.
    /// - Parameters:
    ///   - end: where the log ends.
    ///   - firstYounger: the first offset whose record is younger than ``newestMs``; nil: there is none.
    ///   - mark: this mark as it was when Kafka was asked.
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
