import ChallengeModel
import Crypto
import Foundation

/// Three parts of base64url: header, payload, raw ECDSA signature (r and s, 32 bytes each). Nothing is checked but the form.
struct CompactJWT: Sendable {
    let header: JSONValue
    let payload: JSONValue
    private let signedBytes: [UInt8]
    private let signature: [UInt8]

    /// Long enough for an answer that repeats the largest details in escaped JSON.
    static let maxLength = 32 * 1024

    /// Nil when it is not three parts of unpadded base64url with a JSON object in each of the first two.
    init?(_ text: String) {
        guard text.utf8.count <= Self.maxLength else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = Self.object(parts[0]), let payload = Self.object(parts[1]),
            let signature = Base64URL.decode(parts[2])
        else { return nil }
        self.header = header
        self.payload = payload
        self.signature = signature
        signedBytes = Array((parts[0] + "." + parts[1]).utf8)
    }

    /// ES256 is the only algorithm, whatever the header says otherwise (`none` above all), and no critical extension is known.
    var isES256: Bool { header["alg"]?.stringValue == "ES256" && header["crit"] == nil }

    /// SHA-256 over what was signed, r, and the smaller of s and the order less s.
    var fingerprint: [UInt8] {
        var hash = SHA256()
        hash.update(data: signedBytes)
        hash.update(data: [0])
        hash.update(data: signature.prefix(32))
        hash.update(data: Self.smaller(Array(signature.dropFirst(32))))
        return Array(hash.finalize())
    }

    /// The order of P-256.
    private static let order: [UInt8] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ]

    private static func smaller(_ s: [UInt8]) -> [UInt8] {
        guard s.count == 32 else { return s }
        var twin = [UInt8](repeating: 0, count: 32)
        var borrow = 0
        for index in stride(from: 31, through: 0, by: -1) {
            let difference = Int(order[index]) - Int(s[index]) - borrow
            twin[index] = UInt8(truncatingIfNeeded: difference)
            borrow = difference < 0 ? 1 : 0
        }
        return borrow == 0 && twin.lexicographicallyPrecedes(s) ? twin : s
    }

    /// - Parameter publicKey: SubjectPublicKeyInfo, DER.
    func isSigned(by publicKey: [UInt8]) -> Bool {
        guard isES256, signature.count == 64, let key = try? P256.Signing.PublicKey(derRepresentation: publicKey),
            let ecdsa = try? P256.Signing.ECDSASignature(rawRepresentation: signature)
        else { return false }
        return key.isValidSignature(ecdsa, for: Data(signedBytes))
    }

    private static func object(_ part: Substring) -> JSONValue? {
        guard let bytes = Base64URL.decode(part), let value = try? JSONParser.parse(bytes), value.members != nil else {
            return nil
        }
        return value
    }
}
