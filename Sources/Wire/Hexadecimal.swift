/// The hexadecimal encoding of RFC 4648, section 8: two digits per byte.
package enum Hexadecimal {
    /// The lower-case digit of the low four bits of `value`.
    @inlinable
    package static func digit(_ value: UInt8) -> UInt8 {
        let value = value & 15
        return value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
    }

    /// The capital digit of the low four bits of `value`.
    @inlinable
    package static func capital(_ value: UInt8) -> UInt8 {
        let value = value & 15
        return value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") - 10 + value
    }

    /// The value 0 to 15; nil when the byte is not a hexadecimal digit. Reads both cases.
    @inlinable
    package static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Encodes in lower case.
    package static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { output in
            for (index, byte) in bytes.enumerated() {
                output[index * 2] = digit(byte >> 4)
                output[index * 2 + 1] = digit(byte)
            }
            return bytes.count * 2
        }
    }

    @inlinable
    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Array(bytes).withUnsafeBytes { encode($0) }
    }

    /// The lowest `count` digits in lower case, with leading zeros.
    package static func encode(_ number: some FixedWidthInteger & UnsignedInteger, digits count: Int) -> String {
        String(unsafeUninitializedCapacity: count) { output in
            var left = UInt64(truncatingIfNeeded: number)
            for index in (0..<count).reversed() {
                output[index] = digit(UInt8(left & 15))
                left >>= 4
            }
            return count
        }
    }

    /// `count` random digits in lower case.
    package static func random(digits count: Int) -> String {
        String(unsafeUninitializedCapacity: count) { output in
            for index in 0..<count { output[index] = digit(UInt8.random(in: 0..<16)) }
            return count
        }
    }
}
