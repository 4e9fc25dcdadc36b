import Crypto
import Foundation
package import Wire

/// Signs the records of topic `events`, so that a reader tells genuine events without a secret: Ed25519 (RFC 8032) over
/// the bytes of the value.
public struct EventSigner: Sendable {
    /// The header that carries `<key id>:<base64 of the 64 bytes>`.
    public static let headerName = "beckon-signature"

    /// A public key as it is published.
    public struct PublicKey: Sendable, Hashable {
        public let id: String
        /// 32 bytes.
        public let bytes: [UInt8]
    }

    /// The first one signs.
    public let publicKeys: [PublicKey]
    private let key: Curve25519.Signing.PrivateKey
    private let prefix: [UInt8]

    /// - Parameter keys: each is the seed of a private key.
    public init(keys: KeyRing) {
        publicKeys = keys.keys.map {
            PublicKey(id: $0.id, bytes: Array(Self.privateKey($0).publicKey.rawRepresentation))
        }
        key = Self.privateKey(keys.first)
        prefix = Array("\(keys.first.id):".utf8)
    }

    private static func privateKey(_ key: KeyRing.Key) -> Curve25519.Signing.PrivateKey {
        do {
            return try key.material.withUnsafeBytes { try Curve25519.Signing.PrivateKey(rawRepresentation: Data($0)) }
        } catch {
            preconditionFailure("the keys of a key ring have 32 bytes, and every 32 bytes are a seed: \(error)")
        }
    }

    /// The value of the header ``headerName``.
    public func signature(of value: [UInt8]) -> [UInt8] {
        do {
            return prefix + Array(Base64.encode(try key.signature(for: value)).utf8)
        } catch {
            preconditionFailure("an Ed25519 signature needs no random bytes and takes any message: \(error)")
        }
    }

    /// The public keys as a JSON Web Key Set (RFC 7517, RFC 8037).
    package var keySet: JSONValue {
        .object([
            (
                "keys",
                .array(
                    publicKeys.map { key in
                        .object([
                            ("alg", .string("EdDSA")), ("crv", .string("Ed25519")), ("kid", .string(key.id)),
                            ("kty", .string("OKP")),
                            ("use", .string("sig")), ("x", .string(Base64URL.encode(key.bytes))),
                        ])
                    })
            )
        ])
    }
}
