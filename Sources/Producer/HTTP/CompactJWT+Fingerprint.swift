import Crypto
import Foundation
import Wire

extension CompactJWT {
    /// SHA-256 over the signed text, r, and the smaller of s and (order − s).
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
        (try? P256.Signing.PublicKey(derRepresentation: publicKey)).map { isSigned(by: $0) } ?? false
    }
}
