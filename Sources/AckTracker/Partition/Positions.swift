import ChallengeModel

/// The offset of the next record to read in each of the four topics of a partition, in the order of
/// `Topic.copartitioned`: challenges, outcomes, receipts, resolutions.
struct Positions: Hashable, Sendable {
    private var offsets: (Int64, Int64, Int64, Int64)

    init(_ challenges: Int64 = 0, _ outcomes: Int64 = 0, _ receipts: Int64 = 0, _ resolutions: Int64 = 0) {
        offsets = (challenges, outcomes, receipts, resolutions)
    }

    subscript(index: Int) -> Int64 {
        get {
            switch index {
            case 0: offsets.0
            case 1: offsets.1
            case 2: offsets.2
            default: offsets.3
            }
        }
        set {
            switch index {
            case 0: offsets.0 = newValue
            case 1: offsets.1 = newValue
            case 2: offsets.2 = newValue
            default: offsets.3 = newValue
            }
        }
    }

    static let indices = 0..<4
    /// All but `challenges`.
    static let facts = 1..<4

    static func == (lhs: Positions, rhs: Positions) -> Bool { lhs.offsets == rhs.offsets }
    func hash(into hasher: inout Hasher) { for index in Self.indices { hasher.combine(self[index]) } }

    /// True when `facts` were read at least up to `ends`.
    func haveReached(_ ends: Positions) -> Bool { Self.facts.allSatisfy { self[$0] >= ends[$0] } }
}
