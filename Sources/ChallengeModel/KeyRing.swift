public import Crypto
public import Foundation
import Wire

/// Symmetric keys by id. The first key seals and signs. All keys open and verify, so a key can be rotated without
/// interruption.
public struct KeyRing: Sendable {
    public struct Key: Sendable {
        /// 1 to 16 letters, digits, `-` or `_`.
        public let id: String
        public let material: SymmetricKey
        /// An HMAC state that has processed the key. Each MAC starts from a copy, because processing the key is most of
        /// the work for a short message.
        private let prepared: HMAC<SHA256>
        /// One byte of the SHA-256 of the id, to find the key. It is not a secret.
        let hint: UInt8

        public init(id: String, material: SymmetricKey) {
            self.id = id
            self.material = material
            prepared = HMAC<SHA256>(key: material)
            hint = SHA256.hash(data: Array(id.utf8)).first { _ in true } ?? 0
        }

        /// HMAC-SHA256 under this key.
        func code(over bytes: [UInt8]) -> HMAC<SHA256>.MAC {
            var authenticator = prepared
            authenticator.update(data: bytes)
            return authenticator.finalize()
        }
    }

    public let keys: [Key]

    public var first: Key { keys[0] }

    /// - Parameter keys: at least one; ids distinct.
    public init(keys: [Key]) {
        precondition(!keys.isEmpty, "a key ring needs at least one key")
        self.keys = keys
    }

    /// Reads `id:base64,id:base64`, each key of 32 bytes.
    /// - Throws: ``KeyRingError`` that names the entry, never the key.
    public init(parsing text: String) throws(KeyRingError) {
        var keys: [Key] = []
        for (index, entry) in text.split(separator: ",").enumerated() {
            let parts = entry.split(separator: ":", maxSplits: 1)
            let id = parts.first.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
            guard parts.count == 2, Self.isKeyID(id.utf8) else {
                throw KeyRingError(
                    entry: index + 1, reason: "expected <id>:<base64>, id of 1 to 16 letters, digits, - or _")
            }
            guard let data = Data(base64Encoded: parts[1].trimmingCharacters(in: .whitespaces)), data.count == 32 else {
                throw KeyRingError(entry: index + 1, reason: "expected 32 bytes in base64 after the colon")
            }
            guard !keys.contains(where: { $0.id == id }) else {
                throw KeyRingError(entry: index + 1, reason: "the id appears twice")
            }
            keys.append(Key(id: id, material: SymmetricKey(data: data)))
        }
        guard !keys.isEmpty else { throw KeyRingError(entry: 1, reason: "expected at least one <id>:<base64>") }
        self.keys = keys
    }

    /// 1 to 16 letters, digits, `-` or `_`.
    public static func isKeyID(_ id: some Collection<UInt8>) -> Bool {
        (1...16).contains(id.count)
            && id.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "-")
                    || byte == UInt8(ascii: "_")
            }
    }

    /// A ring with one new random key, for `beckon dev` and tests.
    public static func random(id: String = "k1") -> KeyRing {
        KeyRing(keys: [Key(id: id, material: SymmetricKey(size: .bits256))])
    }

    /// The form that ``init(parsing:)`` reads.
    public var text: String {
        keys.map { key in key.id + ":" + key.material.withUnsafeBytes { Base64.encode($0) } }
            .joined(separator: ",")
    }

    public func key(id: some StringProtocol) -> Key? { keys.first { $0.id == id } }
}

/// A fault in the text of a key ring.
public struct KeyRingError: Error, CustomStringConvertible {
    /// Number of the entry, from 1.
    public let entry: Int
    public let reason: String
    public var description: String { "key ring, entry \(entry): \(reason)" }
}

extension KeyRing {
    /// Seals with AES-GCM and the first key. The result is nonce, ciphertext and tag. Store `keyID` with it.
    /// - Parameter context: the owner of the value (account, SID, field). Opening needs the same context.
    public func seal(_ plaintext: some DataProtocol, context: [String]) throws -> (keyID: String, sealed: Data) {
        let box = try AES.GCM.seal(plaintext, using: first.material, authenticating: Self.additionalData(context))
        guard let combined = box.combined else { throw CryptoKitError.incorrectParameterSize }
        return (first.id, combined)
    }

    /// - Throws: ``SealError`` when no key has that id or the value is not authentic in this context.
    public func open(_ sealed: some DataProtocol, keyID: String, context: [String]) throws(SealError) -> Data {
        guard let key = key(id: keyID) else { throw SealError.unknownKey(keyID) }
        do {
            let box = try AES.GCM.SealedBox(combined: sealed)
            return try AES.GCM.open(box, using: key.material, authenticating: Self.additionalData(context))
        } catch {
            throw SealError.notAuthentic
        }
    }

    private static func additionalData(_ context: [String]) -> Data {
        var data = Data()
        for part in context { data.appendLengthPrefixed(Array(part.utf8)) }
        return data
    }
}

public enum SealError: Error, Equatable {
    case unknownKey(String)
    case notAuthentic
}

extension Data {
    /// Appends the length in four bytes, most significant first, and the bytes.
    mutating func appendLengthPrefixed(_ bytes: some Collection<UInt8>) {
        let count = UInt32(bytes.count)
        append(contentsOf: [
            UInt8(truncatingIfNeeded: count >> 24), UInt8(truncatingIfNeeded: count >> 16),
            UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count),
        ])
        append(contentsOf: bytes)
    }
}
