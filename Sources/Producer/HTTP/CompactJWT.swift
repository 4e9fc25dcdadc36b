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
