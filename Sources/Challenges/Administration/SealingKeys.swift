import ChallengeModel
import Foundation

/// Decides whether a key ring has the keys that sealed the values of a store. Pure functions.
enum SealingKeys {
    enum Finding: Equatable {
        /// The ring has the key.
        case right
        /// The ring has no key of that id.
        case missing
        /// The ring has another key under that id.
        case wrong
    }

    static let setting = "BECKON_STORE_KEYS"
    private static let text = Array("beckon store key".utf8)

    private static func context(_ keyID: String) -> [String] { ["store", keyID, "proof"] }

    /// The proof that later shows whether a key is the same.
    static func proof(of ring: KeyRing) throws -> [UInt8] {
        try Array(ring.seal(text, context: context(ring.first.id)).sealed)
    }

    /// - Parameters:
    ///   - proof: the proof that was sealed with the key; nil: none yet.
    ///   - sample: any value that was sealed with the key, and its context. Used when there is no proof.
    static func finding(
        _ keyID: String, in ring: KeyRing, proof: [UInt8]?, sample: () throws -> (sealed: [UInt8], context: [String])?
    ) rethrows -> Finding {
        guard ring.key(id: keyID) != nil else { return .missing }
        let value: (sealed: [UInt8], context: [String])
        if let proof {
            value = (proof, context(keyID))
        } else {
            guard let found = try sample() else { return .right }
            value = found
        }
        return (try? ring.open(value.sealed, keyID: keyID, context: value.context)) == nil ? .wrong : .right
    }

    /// The message that tells an operator what to do; nil: nothing to do.
    static func complaint(_ findings: [(keyID: String, finding: Finding)], path: String) -> String? {
        let missing = findings.filter { $0.finding == .missing }.map(\.keyID)
        let wrong = findings.filter { $0.finding == .wrong }.map(\.keyID)
        if !wrong.isEmpty {
            return """
                key \(wrong.joined(separator: ", ")) in \(setting) is not the key of that id which the store \(path) is sealed \
                with: give the keys that this store was made with
                """
        }
        if !missing.isEmpty {
            return """
                \(setting) lacks key \(missing.joined(separator: ", ")), which values of the store \(path) are sealed under: add it \
                behind the first key; once beckon secrets reseal has run to its end it is not needed any more
                """
        }
        return nil
    }
}

/// The progress of a rotation of sealed values.
public struct ResealProgress: Sendable, Hashable {
    /// `auth-tokens`, `former-auth-tokens`, `credentials`, `totp-secrets`, `numbers`.
    public let place: String
    /// Values in this place that this run has sealed again with the first key.
    public let resealed: Int
    /// Values that no key opens. They were not changed.
    public let failed: Int
}

/// The result of a rotation of sealed values.
public struct ResealResult: Sendable, Hashable {
    /// The first key. When nothing failed, all values are sealed with it.
    public let keyID: String
    public let resealed: Int
    public let failed: Int
    /// Keys that seal no value any more.
    public let retired: [String]
}
