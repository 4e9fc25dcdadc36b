import ChallengeModel
import Challenges
import Crypto
import Wire

/// Reads the header `Idempotency-Key`, by which the store recognises a request.
enum IdempotencyRules {
    static let header = Problem.idempotencyKey

    /// Parameters are equal when each name has the same values in the same order. The order of the names does not
    /// matter.
    /// - Throws: for a key that is empty, longer than 255 bytes, or not printable ASCII.
    static func key(
        _ text: String?, account: AccountSID, method: String, path: String, _ parameters: ParameterReader
    ) throws(RuleViolation) -> IdempotencyKey? {
        guard let text else { return nil }
        guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw RuleViolation(header, "1 to 255 printable characters without spaces")
        }
        let pairs = parameters.pairs.enumerated().sorted {
            ($0.element.name, $0.offset) < ($1.element.name, $1.offset)
        }
        return IdempotencyKey(
            key: digest([account.rawValue, method, path, text]),
            request: digest(pairs.flatMap { [$0.element.name, $0.element.value] }))
    }

    /// SHA-256 over the parts, each with its length.
    private static func digest(_ parts: [String]) -> [UInt8] {
        var hash = SHA256()
        for part in parts {
            withUnsafeBytes(of: UInt64(part.utf8.count).littleEndian) { hash.update(bufferPointer: $0) }
            hash.update(data: Array(part.utf8))
        }
        return Array(hash.finalize())
    }
}
