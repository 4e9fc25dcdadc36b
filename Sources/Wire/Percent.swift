/// Percent-encoding: RFC 3986, section 2.1.
package enum Percent {
    /// Escapes every byte of the text's UTF-8, except the unreserved characters of RFC 3986: letters, digits, `-`, `.`,
    /// `_` and `~`.
    package static func encode(_ text: String) -> String {
        let count = text.utf8.reduce(0) { $0 + (isUnreserved($1) ? 1 : 3) }
        return String(unsafeUninitializedCapacity: count) { output in
            var index = 0
            func put(_ byte: UInt8) {
                output[index] = byte
                index += 1
            }
            for byte in text.utf8 {
                if isUnreserved(byte) {
                    put(byte)
                } else {
                    put(UInt8(ascii: "%"))
                    put(Hexadecimal.capital(byte >> 4))
                    put(Hexadecimal.capital(byte))
                }
            }
            return count
        }
    }

    /// - Parameter plusIsSpace: whether `+` stands for a space, as in a form.
    /// - Returns: nil for a broken escape, or when the result is not UTF-8.
    @inlinable
    package static func decode(_ bytes: some Collection<UInt8>, plusIsSpace: Bool) -> String? {
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        var iterator = bytes.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(Hexadecimal.value(of:)),
                    let low = iterator.next().flatMap(Hexadecimal.value(of:))
                else { return nil }
                out.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: out.append(0x20)
            default: out.append(byte)
            }
        }
        return String(validating: out, as: UTF8.self)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }
}
