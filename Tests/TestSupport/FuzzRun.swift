import Foundation

/// Random input, round after round: so many rounds in the suite, or for as long as `BECKON_FUZZ_SECONDS` says
/// (`scripts/fuzz`).
///
/// Round *n* of seed *s* is the same as round 0 of seed *s + n*: after a failure, `BECKON_FUZZ_SEED` with the sum
/// repeats the one round. The seed is written to standard error before the first round and once more each thousand
/// rounds, so that it is known when the process dies.
public enum FuzzRun {
    public static let seconds = ProcessInfo.processInfo.environment["BECKON_FUZZ_SECONDS"].flatMap { Double($0) }
    public static let seed =
        ProcessInfo.processInfo.environment["BECKON_FUZZ_SEED"].flatMap { UInt64($0) }
        ?? UInt64.random(in: 0...UInt64.max)

    /// - Parameters:
    ///   - rounds: without `BECKON_FUZZ_SECONDS`.
    ///   - body: gets the round's own generator and seed.
    /// - Returns: how many rounds there were.
    @discardableResult
    public static func run(
        _ name: String, rounds: Int, _ body: (_ generator: inout SeededGenerator, _ seed: UInt64) async throws -> Void
    ) async rethrows -> Int {
        let end = seconds.map { ContinuousClock.now + .seconds($0) }
        var round = 0
        say("fuzz \(name): seed \(seed), \(seconds.map { "\($0) s" } ?? "\(rounds) rounds")")
        while end.map({ ContinuousClock.now < $0 }) ?? (round < rounds) {
            let own = seed &+ UInt64(round)
            var generator = SeededGenerator(seed: own)
            try await body(&generator, own)
            round += 1
            if round % 1000 == 0, end != nil { say("fuzz \(name): before round \(round), seed \(own &+ 1)") }
        }
        say("fuzz \(name): \(round) rounds from seed \(seed)")
        return round
    }

    /// Not buffered, unlike `print`.
    private static func say(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }
}

extension SeededGenerator {
    /// True once in so many.
    public mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &self) == 0 }

    public mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: 0..<values.count, using: &self)]
    }

    /// A number of the kind that breaks arithmetic, or any.
    /// - Parameter nowMs: numbers about this as well.
    public mutating func number(nowMs: Int64 = 0) -> Int64 {
        switch Int.random(in: 0..<8, using: &self) {
        case 0: return pick([.min, .min + 1, .max, .max - 1, -1, 0, 1])
        case 1: return (Int64(1) << Int64.random(in: 0..<63, using: &self)) &+ Int64.random(in: -2...2, using: &self)
        case 2: return 0 &- (Int64(1) << Int64.random(in: 0..<63, using: &self))
        case 3: return Int64.max - Int64.random(in: 0...1_000_000, using: &self)
        case 4: return 253_402_300_799_999 + Int64.random(in: -3...3, using: &self)
        case 5: return nowMs + Int64.random(in: -7_200_000...7_200_000, using: &self)
        case 6: return Int64.random(in: 0...300, using: &self)
        default: return Int64(bitPattern: next())
        }
    }

    /// A few bytes changed, taken out, repeated, or the rest cut off.
    public mutating func broken(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1..<5, using: &self) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &self)
            switch Int.random(in: 0..<5, using: &self) {
            case 0, 1: bytes[index] = UInt8.random(in: 0...255, using: &self)
            case 2: bytes.remove(at: index)
            case 3: bytes.insert(contentsOf: bytes.prefix(min(index, 64)), at: index)
            default: bytes.removeSubrange(index...)
            }
        }
        return bytes
    }

    /// The text with some of its numbers replaced by ones that break arithmetic, also by what is none.
    /// - Parameter digits: shorter numbers stay, such as the ones in identifiers.
    public mutating func withOddNumbers(
        _ text: String, nowMs: Int64 = 0, oneIn: Int = 3, digits least: Int = 1
    ) -> String {
        var result = ""
        var rest = text[...]
        while let start = rest.firstIndex(where: \.isNumber) {
            result += rest[..<start]
            let digits = rest[start...].prefix(while: \.isNumber)
            rest = rest[digits.endIndex...]
            if digits.count >= least, chance(oneIn) {
                result +=
                    chance(8)
                    ? pick(["", "-", "1e999", "-0", "NaN", "0x1", "1.5", "١", "99999999999999999999"])
                    : String(number(nowMs: nowMs))
            } else {
                result += digits
            }
        }
        return result + rest
    }
}
