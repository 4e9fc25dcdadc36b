/// Decides which control characters a text from outside may contain.
/// U+0000 ends a text in C and in several databases, so that two different texts can become equal. The other control
/// characters are not visible, and people do not type them. Every input (form, JSON, protobuf, path, header) is checked
/// here before a text is used. The control characters are U+0000 to U+001F, U+007F, and U+0080 to U+009F (Unicode
/// general category Cc).
package enum PlainText {
    /// The use of a text.
    package enum Shape: Sendable, Hashable {
        /// A name, an identifier, a token: no control characters at all.
        case line
        /// A message, a JSON text, a PEM block: tab, line feed and carriage return are allowed.
        case lines
    }

    /// The first control character that the shape does not allow, as its UTF-8 offset and its value; nil when there is
    /// none.
    package static func refused(in text: some StringProtocol, _ shape: Shape) -> (offset: Int, scalar: Unicode.Scalar)?
    {
        let found = text.utf8.withContiguousStorageIfAvailable { refused(inUTF8: $0, shape) }
        return found ?? refused(inUTF8: Array(text.utf8), shape)
    }

    /// Like ``refused(in:_:)``.
    /// - Parameter bytes: UTF-8. Bytes that are not UTF-8 are skipped.
    @inlinable
    package static func refused(
        inUTF8 bytes: some Sequence<UInt8>, _ shape: Shape
    ) -> (offset: Int, scalar: Unicode.Scalar)? {
        var offset = 0
        // C1 control characters have two bytes; the first byte is always 0xC2.
        var isAfterC2 = false
        for byte in bytes {
            switch byte {
            case 0x09, 0x0A, 0x0D: if shape == .line { return (offset, Unicode.Scalar(byte)) }
            case 0..<0x20, 0x7F: return (offset, Unicode.Scalar(byte))
            case 0x80...0x9F: if isAfterC2 { return (offset - 1, Unicode.Scalar(byte)) }
            default: break
            }
            isAfterC2 = byte == 0xC2
            offset += 1
        }
        return nil
    }

    /// The text that follows "expected" in an error message that names the field.
    /// - Returns: nil when the text fits its shape.
    package static func expectation(brokenBy text: some StringProtocol, _ shape: Shape) -> String? {
        refused(in: text, shape).map { offset, scalar in
            let allowed = shape == .lines ? " other than tab and line ends" : ""
            return "text without control characters\(allowed), got \(name(scalar)) at byte \(offset)"
        }
    }

    /// `U+0000`.
    package static func name(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }
}
