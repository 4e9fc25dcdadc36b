/// The 16 bytes of a SID without its two letters: half the size of the text, no allocation, compared at once.
struct PackedSID: Hashable, Sendable {
    var high: UInt64
    var low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Nil when `text` is not the two letters of `prefix` and 32 hexadecimal digits.
    init?(_ text: String, prefix: String) {
        var text = text
        let words = text.withUTF8 { bytes -> (UInt64, UInt64)? in
            guard bytes.count == 34, bytes[..<2].elementsEqual(prefix.utf8) else { return nil }
            var words: (UInt64, UInt64) = (0, 0)
            for index in 2..<34 {
                let byte = bytes[index]
                let digit: UInt8
                switch byte {
                case 0x30...0x39: digit = byte - 0x30
                case 0x61...0x66: digit = byte - 0x61 + 10
                case 0x41...0x46: digit = byte - 0x41 + 10
                default: return nil
                }
                if index < 18 {
                    words.0 = words.0 << 4 | UInt64(digit)
                } else {
                    words.1 = words.1 << 4 | UInt64(digit)
                }
            }
            return words
        }
        guard let words else { return nil }
        self.init(high: words.0, low: words.1)
    }

    /// The identifier as it stands in records.
    func text(prefix: String) -> String {
        String(unsafeUninitializedCapacity: 34) { buffer in
            var index = 0
            for byte in prefix.utf8.prefix(2) {
                buffer[index] = byte
                index += 1
            }
            for word in [high, low] {
                for shift in stride(from: UInt64(60), through: 0, by: -4) {
                    let digit = UInt8(truncatingIfNeeded: word >> shift) & 15
                    buffer[index] = digit < 10 ? 0x30 + digit : 0x61 + digit - 10
                    index += 1
                }
            }
            return index
        }
    }

    /// Well mixed in all bits, the same in every process: jitter and spread must not change with a restart.
    func mixed(_ salt: UInt64 = 0) -> UInt64 {
        var z = (high ^ (low &* 0x9e37_79b9_7f4a_7c15)) &+ salt &* 0xd1b5_4a32_d192_ed03
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
