public import Crypto
import Foundation
import Wire

/// An ES256 signature in its two forms.
public struct DeviceSignature: Sendable, Hashable {
    /// `r ‖ s`, 64 bytes: the form of a JWT.
    public var raw: [UInt8]
    /// ASN.1 DER, usually 70 to 72 bytes: the form for the verification of a factor.
    public var der: [UInt8]

    /// - Parameters:
    ///   - raw: see ``raw``.
    ///   - der: see ``der``. Both are forms of the same signature.
    public init(raw: [UInt8], der: [UInt8]) {
        self.raw = raw
        self.der = der
    }
}

/// The holder of a device's private key: a ``SoftwareKey``, or an app's own wrapper around a key in a Secure Enclave or
/// keystore.
public protocol DeviceSigner: Sendable {
    /// The public key as SubjectPublicKeyInfo DER of P-256, 91 bytes.
    var publicKeyDER: [UInt8] { get }

    /// ECDSA over P-256 with SHA-256 of `bytes`.
    /// - Throws: any error. A call of ``Device`` rethrows it.
    func sign(_ bytes: [UInt8]) throws -> DeviceSignature
}

/// A P-256 private key in memory.
/// Encoding writes the private key, so store the result only in a keychain or an encrypted file. On platforms with a
/// Secure Enclave, a ``DeviceSigner`` that uses it is the better choice.
public struct SoftwareKey: DeviceSigner, Codable {
    private let key: P256.Signing.PrivateKey

    /// A new random key.
    public init() { key = P256.Signing.PrivateKey() }

    /// Wraps an existing key.
    public init(_ key: P256.Signing.PrivateKey) { self.key = key }

    public var publicKeyDER: [UInt8] { Array(key.publicKey.derRepresentation) }

    public func sign(_ bytes: [UInt8]) throws -> DeviceSignature {
        let signature = try key.signature(for: bytes)
        return DeviceSignature(raw: Array(signature.rawRepresentation), der: Array(signature.derRepresentation))
    }

    /// Reads the base64 text that ``encode(to:)`` wrote.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let bytes = Data(base64Encoded: try container.decode(String.self)),
            let key = try? P256.Signing.PrivateKey(rawRepresentation: bytes)
        else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "expected a P-256 private key, 32 bytes in base64")
        }
        self.key = key
    }

    /// Writes the private key, 32 bytes in base64.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(Base64.encode(key.rawRepresentation))
    }
}
