import ChallengeModel
import Crypto

/// The rules that all decisions of a store use. They are set when the store is opened.
struct StoreRules: Sendable {
    /// Age in milliseconds at which closed challenges are deleted.
    let retentionMs: Int64
    /// The limits against push bombing.
    let limits: ChallengeLimits
    /// The rule that decides when reports of dead push tokens are not believed.
    let brake: TokenBrake
    /// Entities that an account may create within a second.
    let entityCreationsPerSecond: Int
    let alerts = AlertTally()
    let keys: StoreKeys
    /// The proof of the first store key, which seals all new values.
    let keyProof: [UInt8]
}

/// One decision in progress: an open transaction, its time, the caller and the rules. All rules of the store are
/// functions of this type. They know rows, but no SQL, HTTP or Kafka.
/// A rule may run again from its start in another transaction. Therefore all random values come from ``draws``, which
/// starts again with the same numbers. A rule that judges a person's limits, challenges or devices locks the person
/// first.
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

    /// Runs `body` on behalf of another caller.
    func on<Value>(behalfOf other: ChangeContext, _ body: () throws -> Value) rethrows -> Value {
        let former = caller
        caller = other
        defer { caller = former }
        return try body()
    }
}

/// The random numbers of one write. All of them come from 256 random bits that were drawn before the transaction, so a
/// rule that runs again gets the same identifiers and secrets.
struct Draws: RandomNumberGenerator, Sendable {
    /// Nil: no random numbers are available.
    private let seed: SymmetricKey?
    private var blocks: UInt64 = 0
    private var numbers: [UInt64] = []

    /// For reads, which create nothing.
    static let none = Draws(seed: nil)

    init() { self.init(seed: SymmetricKey(size: .bits256)) }
    private init(seed: SymmetricKey?) { self.seed = seed }

    mutating func next() -> UInt64 {
        if let number = numbers.popLast() { return number }
        guard let seed else { preconditionFailure("a read draws no identifiers and secrets") }
        // Without the seed, nobody can predict HMAC-SHA256 over a counter.
        let block = withUnsafeBytes(of: blocks.littleEndian) { HMAC<SHA256>.authenticationCode(for: $0, using: seed) }
        blocks += 1
        block.withUnsafeBytes { bytes in
            numbers = (0..<4).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        }
        return numbers.removeLast()
    }

    /// Returns `count` random bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
