import ChallengeModel
import Crypto

/// What the decisions are judged by, the same for all of a store. Set when it is opened.
struct StoreRules: Sendable {
    /// Closed challenges are deleted when they are so old, in milliseconds.
    let retentionMs: Int64
    /// Against push bombing.
    let limits: ChallengeLimits
    /// When dead push tokens are not believed.
    let brake: TokenBrake
    /// Entities that an account may make within a second.
    let entityCreationsPerSecond: Int
    let keys: StoreKeys
    /// Of the first store key, beside which everything is sealed.
    let keyProof: [UInt8]
}

/// One decision under way: an open transaction, its time, who asks, and what it is judged by. All rules of the store are functions
/// of it; they know rows, and neither statements nor HTTP nor Kafka.
///
/// A rule may be run again from its start in another transaction: whatever is random comes from ``draws``, which starts anew with
/// the same numbers. A rule that judges a person's limits, challenges or devices locks the person first.
final class Decision {
    let rows: any StoreTransaction
    /// Epoch milliseconds.
    let nowMs: Int64
    let rules: StoreRules
    var caller: ChangeContext
    var draws: Draws

    init(rows: any StoreTransaction, nowMs: Int64, rules: StoreRules, caller: ChangeContext, draws: Draws) {
        self.rows = rows
        self.nowMs = nowMs
        self.rules = rules
        self.caller = caller
        self.draws = draws
    }

    /// A new identifier.
    func newSID<Kind>(variant: UInt8? = nil) -> SID<Kind> {
        SID.generate(variant: variant, nowMs: nowMs, using: &draws)
    }

    /// Runs `body` on somebody else's behalf.
    func on<Value>(behalfOf other: ChangeContext, _ body: () throws -> Value) rethrows -> Value {
        let former = caller
        caller = other
        defer { caller = former }
        return try body()
    }
}

/// Random numbers of one write, all from 256 random bits that were drawn before its transaction: whoever runs the same rule again
/// gets the same identifiers and secrets.
struct Draws: RandomNumberGenerator, Sendable {
    /// Nil: nothing is drawn.
    private let seed: SymmetricKey?
    private var blocks: UInt64 = 0
    private var numbers: [UInt64] = []

    /// For reads, which make nothing.
    static let none = Draws(seed: nil)

    init() { self.init(seed: SymmetricKey(size: .bits256)) }
    private init(seed: SymmetricKey?) { self.seed = seed }

    mutating func next() -> UInt64 {
        if let number = numbers.popLast() { return number }
        guard let seed else { preconditionFailure("a read draws no identifiers and secrets") }
        // HMAC-SHA256 over a counter is a generator that nobody predicts who has not the seed.
        let block = withUnsafeBytes(of: blocks.littleEndian) { HMAC<SHA256>.authenticationCode(for: $0, using: seed) }
        blocks += 1
        block.withUnsafeBytes { bytes in
            numbers = (0..<4).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        }
        return numbers.removeLast()
    }

    /// So many random bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
