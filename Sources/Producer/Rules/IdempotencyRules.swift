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
            key: SHA256.hash(parts: [account.rawValue, method, path, text].map { Array($0.utf8) }),
            request: SHA256.hash(
                parts: pairs.flatMap { [Array($0.element.name.utf8), Array($0.element.value.utf8)] }))
    }
}
