package import Crypto
import Foundation

/// A JSON Web Token in compact form (RFC 7515, section 3.1): three parts of base64url, header, payload and signature.
/// Reading checks only the form. The reader must check the algorithm and the signature itself. This type uses no JWT
/// library, for three reasons: it must keep the order of the members and the bytes of nested values (an answer is
/// compared with what was shown), it must refuse a name that appears twice, and it must sign with keys that never leave
/// a device. The cryptography is that of swift-crypto.
package struct CompactJWT: Sendable {
    package let header: JSONValue
    package let payload: JSONValue
    /// The signed bytes: the first two parts with the dot between them.
    package let signedBytes: [UInt8]
    package let signature: [UInt8]

    /// The maximum length of a token. It is enough for an answer that repeats the largest details in escaped JSON.
    package static let maxLength = 32 * 1024

    /// Nil when the text is not three parts of unpadded base64url with a JSON object in each of the first two.
    package init?(_ text: some StringProtocol, _ rules: JSONRules = .input) {
        guard text.utf8.count <= Self.maxLength else { return nil }
        let bytes = Array(text.utf8)
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let header = Self.object(parts[0], rules), let payload = Self.object(parts[1], rules),
            let signature = Base64URL.decode(Array(parts[2]))
        else { return nil }
        self.header = header
        self.payload = payload
        self.signature = signature
        signedBytes = Array(bytes[..<parts[1].endIndex])
    }

    private static func object(_ part: ArraySlice<UInt8>, _ rules: JSONRules) -> JSONValue? {
        guard let bytes = Base64URL.decode(Array(part)), let value = try? JSONParser.parse(bytes, rules),
            value.members != nil
        else { return nil }
        return value
    }

    /// The algorithm that the header names. A reader must not follow it: it requires the algorithm that its key is for.
    package var algorithm: String? { header["alg"]?.stringValue }

    // MARK: - ES256

    /// Whether the header names ES256, the only algorithm that Beckon accepts (above all not `none`), and no critical
    /// extension.
    package var isES256: Bool { algorithm == "ES256" && header["crit"] == nil }

    /// Whether the header names ES256 and the key made the signature (r and s, 32 bytes each).
    package func isSigned(by key: P256.Signing.PublicKey) -> Bool {
        guard isES256, signature.count == 64,
            let ecdsa = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
        else { return false }
        return key.isValidSignature(ecdsa, for: signedBytes)
    }

    // MARK: - Writing

    /// - Parameters:
    ///   - header: a JSON object.
    ///   - payload: a JSON object.
    ///   - sign: returns the signature over the given bytes; for ES256 as r and s.
    package static func signed<Signature: Sequence<UInt8>>(
        header: [UInt8], payload: [UInt8], _ sign: ([UInt8]) throws -> Signature
    ) rethrows -> String {
        let input = Base64URL.encode(header) + "." + Base64URL.encode(payload)
        return input + "." + Base64URL.encode(try sign(Array(input.utf8)))
    }
}
