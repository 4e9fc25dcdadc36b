import DequeModule
import KafkaClient

/// Up to which positions everything that follows from reading (events, dead letters) is on the log, acknowledged. It goes
/// into the commit's metadata, so that the next owner tells the rest and no more. A pure value.
struct AnnouncedMarks: Sendable {
    private var ledger = OffsetLedger(start: 0)
    private var marks: Deque<(write: Int64, positions: Positions)> = []
    private(set) var positions: Positions
    /// Nothing more is told: the positions stay in front of what was not.
    private(set) var isSilent = false

    init(start: Positions) { positions = start }

    /// Writes without an acknowledgement.
    var outstanding: Int { ledger.inFlight }

    /// The number of a write that follows from reading; nil: it is left to the next owner.
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

    /// From now on nothing is told. For good: only the next owner reads again what follows.
    mutating func silence() { isSilent = true }

    /// Everything that follows from records below these positions has begun.
    mutating func mark(_ reached: Positions) {
        if !isSilent, marks.last?.positions != reached { marks.append((ledger.next, reached)) }
        settle()
    }

    /// Offsets of this topic mean nothing any more: what follows from its records is told from its start.
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

    /// The offset in a commit's metadata; nil when it has none, or one that no partition reaches.
    static func offset(metadata: String) -> Int64? {
        guard metadata.hasPrefix("a="), let offset = Int64(metadata.dropFirst(2)), (0...(1 << 56)).contains(offset)
        else { return nil }
        return offset
    }

    static func metadata(_ offset: Int64) -> String { "a=\(offset)" }
}
