import ChallengeModel

/// Why a text is no JSON that we take.
struct JSONProblem: Error, Equatable {
    /// Byte offset.
    let offset: Int
    let reason: String
}

/// RFC 8259, strict: one value and nothing behind it, no name twice in an object, no lone surrogates, at most 16 levels;
/// and no control characters in strings but tab and line ends, however they are written.
struct JSONParser {
    private let bytes: [UInt8]
    private var index = 0
    private static let maxDepth = 16

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    static func parse(_ text: String) throws(JSONProblem) -> JSONValue { try parse(Array(text.utf8)) }

    /// - Parameter bytes: UTF-8; invalid sequences are refused.
    static func parse(_ bytes: [UInt8]) throws(JSONProblem) -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw JSONProblem(offset: 0, reason: "not UTF-8")
        }
        var parser = JSONParser(bytes)
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.index == bytes.count else { throw parser.problem("something behind the value") }
        return value
    }

    private func problem(_ reason: String) -> JSONProblem { JSONProblem(offset: index, reason: reason) }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { index += 1 }
    }

    private mutating func take(_ byte: Character) -> Bool {
        guard next == byte.asciiValue else { return false }
        index += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONProblem) -> JSONValue {
        guard depth < Self.maxDepth else { throw problem("more than \(Self.maxDepth) levels") }
        guard let first = next else { throw problem("expected a value") }
        switch first {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .boolean(true))
        case UInt8(ascii: "f"): return try literal("false", .boolean(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw problem("expected a value")
        }
    }

    private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONProblem) -> JSONValue {
        for offset in 0..<text.utf8CodeUnitCount {
            guard next == text.utf8Start[offset] else { throw problem("expected \(text)") }
            index += 1
        }
        return value
    }

    private mutating func object(depth: Int) throws(JSONProblem) -> JSONValue {
        index += 1
        var members: [(name: String, value: JSONValue)] = []
        var names: Set<[UInt8]> = []
        skipSpace()
        if take("}") { return .object([]) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("expected a name") }
            let name = try string()
            guard names.insert(Array(name.utf8)).inserted else { throw problem("a name stands twice") }
            skipSpace()
            guard take(":") else { throw problem("expected a colon") }
            skipSpace()
            members.append((name, try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw problem("expected a comma or the end of the object") }
        }
    }

    private mutating func array(depth: Int) throws(JSONProblem) -> JSONValue {
        index += 1
        var values: [JSONValue] = []
        skipSpace()
        if take("]") { return .array([]) }
        while true {
            skipSpace()
            values.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(values) }
            guard take(",") else { throw problem("expected a comma or the end of the array") }
        }
    }

    private mutating func number() throws(JSONProblem) -> JSONValue {
        let start = index
        _ = take("-")
        if !take("0") {
            guard digits() > 0 else { throw problem("expected a digit") }
        }
        var isInteger = true
        if take(".") {
            isInteger = false
            guard digits() > 0 else { throw problem("expected a digit") }
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            guard digits() > 0 else { throw problem("expected a digit") }
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if isInteger, let integer = Int64(text) { return .integer(integer) }
        return .number(text)
    }

    private mutating func digits() -> Int {
        let start = index
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { index += 1 }
        return index - start
    }

    private mutating func string() throws(JSONProblem) -> String {
        index += 1
        var out: [UInt8] = []
        while let byte = next {
            index += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard PlainText.refused(inUTF8: out, .lines) == nil else {
                    throw problem("a control character in a string")
                }
                return String(decoding: out, as: UTF8.self)
            case UInt8(ascii: "\\"): try escape(into: &out)
            case 0..<0x20: throw problem("a control character in a string")
            default: out.append(byte)
            }
        }
        throw problem("a string without its end")
    }

    private mutating func escape(into out: inout [UInt8]) throws(JSONProblem) {
        guard let byte = next else { throw problem("an escape without its end") }
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
        case UInt8(ascii: "b"): out.append(8)
        case UInt8(ascii: "f"): out.append(12)
        case UInt8(ascii: "n"): out.append(10)
        case UInt8(ascii: "r"): out.append(13)
        case UInt8(ascii: "t"): out.append(9)
        case UInt8(ascii: "u"):
            var code = UInt32(try fourDigits())
            if (0xD800...0xDBFF).contains(code) {
                guard take("\\"), take("u") else { throw problem("half a surrogate pair") }
                let low = UInt32(try fourDigits())
                guard (0xDC00...0xDFFF).contains(low) else { throw problem("half a surrogate pair") }
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw problem("half a surrogate pair") }
            out.append(contentsOf: String(Character(scalar)).utf8)
        default: throw problem("an unknown escape")
        }
    }

    private mutating func fourDigits() throws(JSONProblem) -> UInt16 {
        guard index + 4 <= bytes.count else { throw problem("expected four hexadecimal digits") }
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = Hexadecimal.value(of: bytes[index]) else {
                throw problem("expected four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
            index += 1
        }
        return value
    }
}

enum Hexadecimal {
    static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
