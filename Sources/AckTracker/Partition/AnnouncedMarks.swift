import DequeModule
import KafkaClient

/// The positions up to which all consequences of reading (events, dead letters) are on the log and acknowledged. They
/// are part of the commit's metadata, so that the next owner writes only the rest. A pure value.
struct AnnouncedMarks: Sendable {
    private var ledger = OffsetLedger(start: 0)
    private var marks: Deque<(write: Int64, positions: Positions)> = []
    private(set) var positions: Positions
    /// True when no more consequences are written. The positions stay before the unwritten ones.
    private(set) var isSilent = false

    init(start: Positions) { positions = start }

    /// Number of writes without an acknowledgement.
    var outstanding: Int { ledger.inFlight }

    /// The number of a new write that follows from reading; nil: it is left to the next owner.
    mutating func begin() -> Int64? {
        guard !isSilent else { return nil }
        let number = ledger.next
        ledger.take(number)
        return number
    }

    mutating func complete(_ number: Int64) {
        ledger.complete(number)
        settle()
    }

    /// Stops all further writes. This is final, because only the next owner reads the records again.
    mutating func silence() { isSilent = true }

    /// Call it when all writes that follow from records below these positions have begun.
    mutating func mark(_ reached: Positions) {
        if !isSilent, marks.last?.positions != reached { marks.append((ledger.next, reached)) }
        settle()
    }

    /// Call it when the topic has a new log. The consequences of its records are written from its start.
    mutating func startOver(_ topic: Int) {
        positions[topic] = 0
        marks = Deque(
            marks.map { mark in
                var positions = mark.positions
                positions[topic] = 0
                return (mark.write, positions)
            })
    }

    private mutating func settle() {
        while let first = marks.first, ledger.committable >= first.write {
            positions = first.positions
            marks.removeFirst()
        }
    }

    /// The offset in a commit's metadata; nil when it is missing or impossible.
    static func offset(metadata: String) -> Int64? {
        guard metadata.hasPrefix("a="), let offset = Int64(metadata.dropFirst(2)), (0...(1 << 56)).contains(offset)
        else { return nil }
        return offset
    }

    static func metadata(_ offset: Int64) -> String { "a=\(offset)" }
}
