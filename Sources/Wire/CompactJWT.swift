package import Crypto
import Foundation

/// A JSON Web Token in compact form (RFC 7515, section 3.1): three parts of base64url, header, payload and signature.
///
/// Reading checks the form and nothing else: whoever reads asks for the algorithm and the signature. No library stands behind it:
/// ours must keep the members' order and the bytes of nested values (an answer is compared with what was shown), refuse a name
/// that stands twice, and sign with keys that never leave a device. The cryptography is swift-crypto's.
package struct CompactJWT: Sendable {
    package let header: JSONValue
    package let payload: JSONValue
    /// The first two parts with the dot between them: what is signed.
    package let signedBytes: [UInt8]
    package let signature: [UInt8]

    /// Long enough for an answer that repeats the largest details in escaped JSON.
    package static let maxLength = 32 * 1024

    /// Nil when it is not three parts of unpadded base64url with a JSON object in each of the first two.
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

    /// The algorithm that the header names. It decides nothing by itself: a reader demands the one that its key is for.
    package var algorithm: String? { header["alg"]?.stringValue }

    // MARK: - ES256

    /// ES256 is the only algorithm, whatever the header says otherwise (`none` above all), and no critical extension is known.
    package var isES256: Bool { algorithm == "ES256" && header["crit"] == nil }

    /// Whether the header says ES256 and the signature (r and s, 32 bytes each) is the key's.
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
    ///   - sign: the signature over the bytes given; for ES256 as r and s.
    package static func signed<Signature: Sequence<UInt8>>(
        header: [UInt8], payload: [UInt8], _ sign: ([UInt8]) throws -> Signature
    ) rethrows -> String {
        let input = Base64URL.encode(header) + "." + Base64URL.encode(payload)
        return input + "." + Base64URL.encode(try sign(Array(input.utf8)))
    }
}
