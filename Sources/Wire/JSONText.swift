/// JSON strings: RFC 8259, section 7. Only the characters that must be escaped are escaped: quotation mark, backslash,
/// and everything below U+0020.
package enum JSONText {
    /// Appends `text` as a JSON string, with its quotation marks.
    package static func append(_ text: String, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { bytes in escape(bytes) { out.append(contentsOf: $0) } }
        out.append(UInt8(ascii: "\""))
    }

    /// `text` as a JSON string, with its quotation marks.
    package static func quoted(_ text: String) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(text.utf8.count + 2)
        append(text, to: &out)
        return String(decoding: out, as: UTF8.self)
    }

    /// Passes the escaped bytes of a text to `emit`, run by run, for writers that have their own buffer.
    /// - Parameter emit: called with each run in order. The buffer is valid only during the call.
    @inlinable
    package static func escape(
        _ bytes: UnsafeBufferPointer<UInt8>, _ emit: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        var start = 0
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
            if start < index { emit(UnsafeBufferPointer(rebasing: bytes[start..<index])) }
            emit(escaped(byte))
            start = index + 1
        }
        if start < bytes.count { emit(UnsafeBufferPointer(rebasing: bytes[start...])) }
    }

    /// The number of bytes that ``escape(_:_:)`` writes for one byte.
    @inlinable
    package static func size(of byte: UInt8) -> Int {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), 0x0A, 0x0D, 0x09: 2
        case 0..<0x20: 6
        default: 1
        }
    }

    /// The number of bytes that ``escape(_:_:)`` writes for these bytes.
    @inlinable
    package static func size(of bytes: some Sequence<UInt8>) -> Int { bytes.reduce(0) { $0 + size(of: $1) } }

    private static let short: StaticString = #"\"\\\n\r\t"#
    /// The escapes of U+0000 to U+001F, six bytes each.
    private static let long: StaticString =
        #"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u0009\u000a\u000b\u000c\u000d\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f"#

    @usableFromInline
    static func escaped(_ byte: UInt8) -> UnsafeBufferPointer<UInt8> {
        switch byte {
        case UInt8(ascii: "\""): UnsafeBufferPointer(start: short.utf8Start, count: 2)
        case UInt8(ascii: "\\"): UnsafeBufferPointer(start: short.utf8Start + 2, count: 2)
        case 0x0A: UnsafeBufferPointer(start: short.utf8Start + 4, count: 2)
        case 0x0D: UnsafeBufferPointer(start: short.utf8Start + 6, count: 2)
        case 0x09: UnsafeBufferPointer(start: short.utf8Start + 8, count: 2)
        default: UnsafeBufferPointer(start: long.utf8Start + 6 * Int(byte & 31), count: 6)
        }
    }
}
