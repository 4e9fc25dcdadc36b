import ChallengeModel
import Crypto

/// The identifier that a push carries to the provider (`apns-id`): derived from (challenge, factor, dispatch id, kind),
/// so that a repeat of the same push has the same.
enum PushID {
    /// A lower-case UUID, version 8 (RFC 9562: "custom"), of the first 128 bits of SHA-256 over the four, each followed
    /// by a zero byte, which none of them contains.
    static func make(challenge: String, factor: String, dispatch: String, kind: PushKind) -> String {
        var input: [UInt8] = []
        input.reserveCapacity(128)
        for part in [challenge, factor, dispatch, kind == .background ? "background" : "visible"] {
            input.append(contentsOf: part.utf8)
            input.append(0)
        }
        let digest = SHA256.hash(data: input)
        return digest.withUnsafeBytes { bytes in
            String(unsafeUninitializedCapacity: 36) { output in
                var written = 0
                for index in 0..<16 {
                    if index == 4 || index == 6 || index == 8 || index == 10 {
                        output[written] = UInt8(ascii: "-")
                        written += 1
                    }
                    var byte = bytes[index]
                    if index == 6 { byte = byte & 0x0f | 0x80 }
                    if index == 8 { byte = byte & 0x3f | 0x80 }
                    output[written] = digit(byte >> 4)
                    output[written + 1] = digit(byte & 15)
                    written += 2
                }
                return written
            }
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
