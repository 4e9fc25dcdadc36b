/// A parsed JSON text that remembers where the values of objects stand in it.
///
/// A device signs the server's own values. Copying their bytes, instead of writing them anew, keeps numbers, escapes and
/// the order inside nested objects as they came.
package indirect enum JSONTree: Sendable, Hashable {
    case null
    case bool(Bool)
    /// The number's own text: nothing is rounded.
    case number(String)
    case string(String)
    case array([JSONTree])
    case object([Member])

    /// One name and value of an object, in the order of the text.
    package struct Member: Sendable, Hashable {
        package var name: String
        package var value: JSONTree
        /// Where the value stands, in bytes of the parsed text.
        package var range: Range<Int>
    }

    /// Parses a whole text strictly (RFC 8259): one value, UTF-8, no comments, no trailing commas, no name twice in one
    /// object, at most 32 levels deep.
    package init(parsing bytes: [UInt8]) throws {
        self = try bytes.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer)
            return try parser.whole()
        }
    }

    /// Where the elements of an array stand that takes up `range` of a text that was parsed before.
    package static func elementRanges(of bytes: [UInt8], in range: Range<Int>) throws -> [Range<Int>] {
        try bytes.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer)
            parser.at = range.lowerBound
            var ranges: [Range<Int>] = []
            _ = try parser.array(depth: 0) { ranges.append($0) }
            return ranges
        }
    }

    /// The member's value when this is an object that has it.
    package subscript(name: String) -> JSONTree? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    package var stringValue: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    package var members: [Member]? {
        guard case .object(let members) = self else { return nil }
        return members
    }

    package var elements: [JSONTree]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    /// A whole number, when this is one that fits.
    package var integerValue: Int64? {
        guard case .number(let text) = self else { return nil }
        return Int64(text)
    }

    /// `text` as a JSON string, with its quotes.
    package static func quoted(_ text: String) -> [UInt8] {
        var out: [UInt8] = [UInt8(ascii: "\"")]
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): out += [UInt8(ascii: "\\"), byte]
            case 0x0A: out += Array("\\n".utf8)
            case 0x0D: out += Array("\\r".utf8)
            case 0x09: out += Array("\\t".utf8)
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                out += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: out.append(byte)
            }
        }
        out.append(UInt8(ascii: "\""))
        return out
    }
}

/// Why a text is not JSON, and where.
package struct JSONSyntaxError: Error, Hashable, CustomStringConvertible {
    package var reason: String
    /// In bytes from the beginning.
    package var offset: Int

    package var description: String { "not JSON at byte \(offset): \(reason)" }
}

private struct JSONParser {
    private static let deepest = 32
    let bytes: UnsafeBufferPointer<UInt8>
    var at = 0

    init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    mutating func whole() throws -> JSONTree {
        skipSpace()
        let value = try value(depth: 0)
        skipSpace()
        guard at == bytes.count else { throw fault("something follows the value") }
        return value
    }

    private func fault(_ reason: String) -> JSONSyntaxError { JSONSyntaxError(reason: reason, offset: at) }

    private mutating func skipSpace() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x0A, 0x0D, 0x09: at += 1
            default: return
            }
        }
    }

    private mutating func value(depth: Int) throws -> JSONTree {
        guard depth <= Self.deepest else { throw fault("nested too deeply") }
        guard at < bytes.count else { throw fault("a value is missing") }
        switch bytes[at] {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw fault("a value cannot begin so")
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONTree) throws -> JSONTree {
        let length = text.utf8CodeUnitCount
        guard at + length <= bytes.count else { throw fault("a word is cut short") }
        for index in 0..<length where bytes[at + index] != text.utf8Start[index] { throw fault("unknown word") }
        at += length
        return value
    }

    private mutating func object(depth: Int) throws -> JSONTree {
        at += 1
        var members: [JSONTree.Member] = []
        skipSpace()
        if at < bytes.count, bytes[at] == UInt8(ascii: "}") {
            at += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw fault("a name is missing") }
            let name = try string()
            if members.contains(where: { $0.name == name }) { throw fault("a name stands twice") }
            skipSpace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: ":") else { throw fault("a colon is missing") }
            at += 1
            skipSpace()
            let start = at
            let value = try value(depth: depth + 1)
            members.append(JSONTree.Member(name: name, value: value, range: start..<at))
            skipSpace()
            guard at < bytes.count else { throw fault("an object is not closed") }
            switch bytes[at] {
            case UInt8(ascii: ","): at += 1
            case UInt8(ascii: "}"):
                at += 1
                return .object(members)
            default: throw fault("a comma or brace is missing")
            }
        }
    }

    mutating func array(depth: Int, each: (Range<Int>) -> Void = { _ in }) throws -> JSONTree {
        at += 1
        var elements: [JSONTree] = []
        skipSpace()
        if at < bytes.count, bytes[at] == UInt8(ascii: "]") {
            at += 1
            return .array(elements)
        }
        while true {
            skipSpace()
            let start = at
            elements.append(try value(depth: depth + 1))
            each(start..<at)
            skipSpace()
            guard at < bytes.count else { throw fault("an array is not closed") }
            switch bytes[at] {
            case UInt8(ascii: ","): at += 1
            case UInt8(ascii: "]"):
                at += 1
                return .array(elements)
            default: throw fault("a comma or bracket is missing")
            }
        }
    }

    private mutating func number() throws -> String {
        let start = at
        if bytes[at] == UInt8(ascii: "-") { at += 1 }
        let whole = try digits()
        if whole > 1, bytes[at - whole] == UInt8(ascii: "0") { throw fault("a number begins with zero") }
        if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
            at += 1
            _ = try digits()
        }
        if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
            at += 1
            if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
            _ = try digits()
        }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    private mutating func digits() throws -> Int {
        let start = at
        while at < bytes.count, bytes[at] >= UInt8(ascii: "0"), bytes[at] <= UInt8(ascii: "9") { at += 1 }
        guard at > start else { throw fault("a digit is missing") }
        return at - start
    }

    private mutating func string() throws -> String {
        at += 1
        let start = at
        // Most strings have no escape: they are copied as they stand.
        while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != UInt8(ascii: "\\"), bytes[at] >= 0x20 {
            at += 1
        }
        guard at < bytes.count else { throw fault("a string is not closed") }
        if bytes[at] == UInt8(ascii: "\"") {
            guard let text = String(validating: bytes[start..<at], as: UTF8.self) else { throw fault("not UTF-8") }
            at += 1
            return text
        }
        return try escapedString(from: start)
    }

    private mutating func escapedString(from start: Int) throws -> String {
        var out = Array(bytes[start..<at])
        while true {
            guard at < bytes.count else { throw fault("a string is not closed") }
            let byte = bytes[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: out, as: UTF8.self) else { throw fault("not UTF-8") }
                return text
            case UInt8(ascii: "\\"): try escape(into: &out)
            case 0..<0x20: throw fault("a control character in a string")
            default: out.append(byte)
            }
        }
    }

    private mutating func escape(into out: inout [UInt8]) throws {
        guard at < bytes.count else { throw fault("an escape is cut short") }
        let byte = bytes[at]
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "f"): out.append(0x0C)
        case UInt8(ascii: "n"): out.append(0x0A)
        case UInt8(ascii: "r"): out.append(0x0D)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "u"):
            var code = UInt32(try hexDigits())
            if 0xD800..<0xDC00 ~= code {
                guard at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u") else {
                    throw fault("half a surrogate pair")
                }
                at += 2
                let low = UInt32(try hexDigits())
                guard 0xDC00..<0xE000 ~= low else { throw fault("half a surrogate pair") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw fault("half a surrogate pair") }
            out.append(contentsOf: String(Character(scalar)).utf8)
        default: throw fault("unknown escape")
        }
    }

    private mutating func hexDigits() throws -> UInt16 {
        guard at + 4 <= bytes.count,
            let code = UInt16(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16),
            bytes[at] != UInt8(ascii: "+"), bytes[at] != UInt8(ascii: "-")
        else { throw fault("four hexadecimal digits are missing") }
        at += 4
        return code
    }
}
