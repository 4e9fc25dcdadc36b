import ChallengeModel
import Foundation

/// Which keys a store's values are sealed under, and whether a key ring has them. Pure: no statement in here.
enum SealingKeys {
    enum Finding: Equatable {
        /// The ring has the key.
        case right
        /// The ring has no key of that id.
        case missing
        /// The ring's key of that id is another one.
        case wrong
    }

    static let setting = "BECKON_STORE_KEYS"
    private static let text = Array("beckon store key".utf8)

    private static func context(_ keyID: String) -> [String] { ["store", keyID, "proof"] }

    /// What shows later whether a key is the same.
    static func proof(of ring: KeyRing) throws -> [UInt8] {
        try Array(ring.seal(text, context: context(ring.first.id)).sealed)
    }

    /// - Parameters:
    ///   - proof: sealed under the key; nil: there is none yet.
    ///   - sample: any value sealed under it with its context, looked at when there is no proof.
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

    /// What is to be done, for an operator; nil: nothing.
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

/// How far a rotation of sealed values has come.
public struct ResealProgress: Sendable, Hashable {
    /// `auth-tokens`, `former-auth-tokens`, `credentials`, `totp-secrets`, `numbers`.
    public let place: String
    /// Values sealed again under the first key in this place, by this run.
    public let resealed: Int
    /// Values that could not be opened, and were left.
    public let failed: Int
}

/// What a rotation of sealed values came to.
public struct ResealResult: Sendable, Hashable {
    /// The first key, which all values are sealed under when nothing failed.
    public let keyID: String
    public let resealed: Int
    public let failed: Int
    /// Keys that no value is sealed under any more.
    public let retired: [String]
}
