import ChallengeModel
import Wire

/// The metadata of a commit of `challenges[p]`, as text: `1 o=<outcomes> f=<start>.<receipts>.<resolutions>.<expiry in
/// seconds>,…`, at most about 500 bytes of Kafka's 4,096.
struct CommitMetadata: Hashable, Sendable {
    /// No outcome of the committed record, or of a later one, is before this offset.
    var outcomes: Int64
    var spans: [FactPositions.Span]

    static let maxSpans = 8
    /// Valid range of an offset from another writer: more records than a partition ever holds, without overflow.
    private static let offsets: ClosedRange<Int64> = 0...(1 << 56)
    /// Range of an expiry in seconds, which is rounded up when it is written.
    private static let expirySeconds: ClosedRange<Int64> = 0...(Timestamp.range.upperBound / 1000 + 1)

    init(outcomes: Int64, spans: [FactPositions.Span]) {
        self.outcomes = outcomes
        self.spans = spans
    }

    /// Nil when the text does not have this form. Everything is then read from the beginning.
    init?(_ text: String) {
        var outcomes: Int64?
        var spans: [FactPositions.Span] = []
        let words = text.split(separator: " ")
        guard words.first == "1" else { return nil }
        for word in words.dropFirst() {
            if word.hasPrefix("o=") {
                outcomes = Int64(word.dropFirst(2))
            } else if word.hasPrefix("f=") {
                for part in word.dropFirst(2).split(separator: ",") {
                    let numbers = part.split(separator: ".").compactMap { Int64($0) }
                    guard numbers.count == 4, numbers[..<3].allSatisfy(Self.offsets.contains),
                        Self.expirySeconds.contains(numbers[3])
                    else { return nil }
                    spans.append(
                        FactPositions.Span(
                            start: numbers[0], receipts: numbers[1], resolutions: numbers[2],
                            expiresAtMs: numbers[3] * 1000))
                }
            }
        }
        guard let outcomes, Self.offsets.contains(outcomes), !spans.isEmpty,
            zip(spans, spans.dropFirst()).allSatisfy({ $0.start <= $1.start })
        else { return nil }
        self.init(outcomes: outcomes, spans: spans)
    }

    var text: String {
        let spans = spans.map { "\($0.start).\($0.receipts).\($0.resolutions).\(($0.expiresAtMs + 999) / 1000)" }
        return "1 o=\(outcomes) f=\(spans.joined(separator: ","))"
    }
}

/// Tracks the lowest offset that an outcome of an uncommitted record can have. This is the known end of `outcomes` when
/// the record was taken, because its outcomes are written later. The outcomes of records that a predecessor may have
/// served were written since its own commit, so the position at which this lane began counts for them.
struct OutcomeFloors: Sendable {
    /// From `record` on, `floor` applies. Both are ascending.
    private var floors: [(record: Int64, floor: Int64)]
    private var first = 0
    /// Records below this offset may have been served by a predecessor; nil while this end is unknown.
    private var inheritedBelow: Int64?
    private let inherited: Int64
    /// The known end of `outcomes`.
    private(set) var known: Int64

    /// - Parameter inherited: the offset at which reading `outcomes` begins.
    init(inherited: Int64) {
        self.inherited = inherited
        known = inherited
        floors = [(0, inherited)]
    }

    /// Sets the end of `challenges` from a query after the assignment.
    mutating func inherit(below end: Int64) { inheritedBelow = max(end, inheritedBelow ?? 0) }

    /// An outcome at `offset - 1` was acknowledged or read.
    mutating func reach(_ offset: Int64) { known = max(known, offset) }

    mutating func take(_ record: Int64) {
        guard let inheritedBelow, record >= inheritedBelow, floors[floors.count - 1].floor < known else { return }
        floors.append((record, known))
    }

    /// The floor for a commit at `committed`.
    /// - Parameter next: the record that will be taken next.
    mutating func floor(committed: Int64, next: Int64) -> Int64 {
        while first + 1 < floors.count, floors[first + 1].record <= committed { first += 1 }
        if first > 1024 {
            floors.removeFirst(first)
            first = 0
        }
        // All taken records are done, so only later records count.
        if committed >= next, let inheritedBelow, committed >= inheritedBelow { return known }
        return floors[first].floor
    }
}
