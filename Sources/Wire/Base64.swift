/// The base64url encoding of RFC 4648, section 5, without padding.
package enum Base64URL {
    @inlinable
    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Array(bytes).withUnsafeBytes { encode($0) }
    }

    package static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output in
            Base64Text.write(bytes, alphabet: .url, isPadded: false, to: output)
        }
    }

    /// Nil when `text` has padding, characters of another alphabet, a wrong length, or bits set after the last byte.
    @inlinable
    package static func decode(_ text: some StringProtocol) -> [UInt8]? { decode(Array(text.utf8)) }

    package static func decode(_ text: [UInt8]) -> [UInt8]? {
        Base64Text.bytes(of: text[...], alphabet: .url, isPadded: false)
    }
}

/// The base64 encoding of RFC 4648, section 4, with padding.
package enum Base64 {
    @inlinable
    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Array(bytes).withUnsafeBytes { encode($0) }
    }

    package static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output in
            Base64Text.write(bytes, alphabet: .standard, isPadded: true, to: output)
        }
    }

    /// The encoded text as bytes.
    package static func encodedBytes(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output, count in
            count = Base64Text.write(bytes, alphabet: .standard, isPadded: true, to: output)
        }
    }

    /// Nil when `text` lacks padding, or has characters of another alphabet, a wrong length, or bits set after the last
    /// byte. (Foundation accepts such bits, so one value would have several texts.)
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        Base64Text.bytes(of: Array(text.utf8)[...], alphabet: .standard, isPadded: true)
    }
}

/// Beckon's own base64 code. Foundation's takes a `Data` and returns a bridged `String`, which costs more than the
/// encoding itself.
enum Base64Text {
    /// The two alphabets of RFC 4648, sections 4 and 5.
    struct Alphabet: Sendable {
        static let standard = Alphabet("+", "/")
        static let url = Alphabet("-", "_")

        fileprivate let digits: [UInt8]
        /// The value of each byte; 255: the byte is not in the alphabet.
        fileprivate let values: [UInt8]

        private init(_ last: Unicode.Scalar, _ veryLast: Unicode.Scalar) {
            var digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
            digits.append(UInt8(ascii: last))
            digits.append(UInt8(ascii: veryLast))
            self.digits = digits
            var values = [UInt8](repeating: 255, count: 256)
            for (value, digit) in digits.enumerated() { values[Int(digit)] = UInt8(value) }
            self.values = values
        }
    }

    /// - Parameter output: a buffer of at least four bytes for each started group of three input bytes.
    /// - Returns: the number of bytes that were written.
    static func write(
        _ bytes: UnsafeRawBufferPointer, alphabet: Alphabet, isPadded: Bool,
        to output: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        alphabet.digits.withUnsafeBufferPointer { digits in
            var written = 0
            var index = 0
            func put(_ value: UInt32, _ shift: UInt32) {
                output[written] = digits[Int(value >> shift & 63)]
                written += 1
            }
            while index + 2 < bytes.count {
                let value = UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2])
                put(value, 18)
                put(value, 12)
                put(value, 6)
                put(value, 0)
                index += 3
            }
            let left = bytes.count - index
            guard left > 0 else { return written }
            let value = UInt32(bytes[index]) << 16 | (left == 2 ? UInt32(bytes[index + 1]) << 8 : 0)
            put(value, 18)
            put(value, 12)
            if left == 2 { put(value, 6) }
            if isPadded {
                for _ in left..<3 {
                    output[written] = UInt8(ascii: "=")
                    written += 1
                }
            }
            return written
        }
    }

    /// Nil when the text has characters of another alphabet, a wrong length, other padding than `isPadded` says, or
    /// bits set after the last byte.
    static func bytes(of text: ArraySlice<UInt8>, alphabet: Alphabet, isPadded: Bool) -> [UInt8]? {
        var digits = text
        if isPadded {
            guard digits.count % 4 == 0 else { return nil }
            if digits.last == UInt8(ascii: "=") { digits.removeLast() }
            if digits.last == UInt8(ascii: "=") { digits.removeLast() }
        }
        guard digits.count % 4 != 1 else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count * 3 / 4)
        var pending: UInt32 = 0
        var bits: UInt32 = 0
        for digit in digits {
            let value = alphabet.values[Int(digit)]
            guard value != 255 else { return nil }
            pending = pending << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: pending >> bits))
                pending &= (1 << bits) - 1
            }
        }
        return pending == 0 ? bytes : nil
    }
}
