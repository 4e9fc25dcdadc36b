/// The reason why a text is not JSON that Beckon accepts.
package struct JSONProblem: Error, Equatable, CustomStringConvertible {
    /// Position of the fault in bytes from the beginning.
    package let offset: Int
    package let reason: String

    package var description: String { "not JSON at byte \(offset): \(reason)" }
}

/// Rules that the parser applies in addition to RFC 8259.
package struct JSONRules: Sendable {
    /// Maximum number of nested levels.
    package let maxDepth: Int
    /// Whether strings may contain escaped control characters other than tab and line ends.
    package let allowsControlCharacters: Bool

    /// The rules for input of Beckon's APIs: at most 16 levels, and in strings no control characters except tab and
    /// line ends.
    package static let input = JSONRules(maxDepth: 16, allowsControlCharacters: false)
    /// The rules for replies of other servers: at most 32 levels.
    package static let reply = JSONRules(maxDepth: 32, allowsControlCharacters: true)
}

/// A strict parser for RFC 8259: UTF-8, one value with nothing after it, no name twice in an object, no lone
/// surrogates.
/// Foundation's `JSONSerialization` and `JSONDecoder` cannot replace it. They accept an object that has a name twice,
/// lose the order of members and the text of numbers, and do not give the position of a value. A signed answer depends
/// on all four.
package struct JSONParser {
    private let bytes: UnsafeBufferPointer<UInt8>
    private let rules: JSONRules
    private var index: Int

    private init(_ bytes: UnsafeBufferPointer<UInt8>, _ rules: JSONRules, at index: Int = 0) {
        self.bytes = bytes
        self.rules = rules
        self.index = index
    }

    package static func parse(_ text: String, _ rules: JSONRules = .input) throws(JSONProblem) -> JSONValue {
        try parse(Array(text.utf8), rules)
    }

    package static func parse(_ bytes: [UInt8], _ rules: JSONRules = .input) throws(JSONProblem) -> JSONValue {
        try reading(bytes, rules, from: 0) { (parser) throws(JSONProblem) in
            parser.skipSpace()
            let value = try parser.value(depth: 0)
            parser.skipSpace()
            guard parser.index == bytes.count else { throw parser.problem("unexpected bytes after the value") }
            return value
        }
    }

    /// The positions of the values of an object's members.
    /// - Parameters:
    ///   - bytes: a whole JSON text.
    ///   - range: the position of the object in the text; nil: the object is the whole text.
    /// - Returns: names and ranges in the order of the text. The bytes in these ranges have the original numbers,
    ///   escapes and member order.
    package static func memberRanges(
        of bytes: [UInt8], in range: Range<Int>? = nil, _ rules: JSONRules = .reply
    ) throws(JSONProblem) -> [(name: String, range: Range<Int>)] {
        try reading(bytes, rules, from: range?.lowerBound ?? 0) { (parser) throws(JSONProblem) in
            parser.skipSpace()
            guard parser.next == UInt8(ascii: "{") else { throw parser.problem("expected an object") }
            var ranges: [(name: String, range: Range<Int>)] = []
            _ = try parser.object(depth: 0) { ranges.append(($0, $1)) }
            return ranges
        }
    }

    /// The positions of an array's elements, in order. The parameters are those of ``memberRanges(of:in:_:)``.
    package static func elementRanges(
        of bytes: [UInt8], in range: Range<Int>? = nil, _ rules: JSONRules = .reply
    ) throws(JSONProblem) -> [Range<Int>] {
        try reading(bytes, rules, from: range?.lowerBound ?? 0) { (parser) throws(JSONProblem) in
            parser.skipSpace()
            guard parser.next == UInt8(ascii: "[") else { throw parser.problem("expected an array") }
            var ranges: [Range<Int>] = []
            _ = try parser.array(depth: 0) { ranges.append($0) }
            return ranges
        }
    }

    private static func reading<Value>(
        _ bytes: [UInt8], _ rules: JSONRules, from index: Int, _ body: (inout JSONParser) throws(JSONProblem) -> Value
    ) throws(JSONProblem) -> Value {
        let result = bytes.withUnsafeBufferPointer { buffer -> Result<Value, JSONProblem> in
            var parser = JSONParser(buffer, rules, at: index)
            do throws(JSONProblem) { return .success(try body(&parser)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private func problem(_ reason: String) -> JSONProblem { JSONProblem(offset: index, reason: reason) }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { index += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        index += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONProblem) -> JSONValue {
        guard depth < rules.maxDepth else { throw problem("more than \(rules.maxDepth) levels") }
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

    /// The names of an object that were read so far. They are compared byte by byte. When there are many, they are
    /// hashed, so that no text is slow to read.
    private struct Names {
        private var seen: Set<[UInt8]> = []

        mutating func isNew(_ name: String, among members: [(name: String, value: JSONValue)]) -> Bool {
            guard members.count >= 16 else {
                return !members.contains { $0.name.utf8.elementsEqual(name.utf8) }
            }
            if seen.isEmpty { seen = Set(members.map { Array($0.name.utf8) }) }
            return seen.insert(Array(name.utf8)).inserted
        }
    }

    private mutating func object(
        depth: Int, each: (String, Range<Int>) -> Void = { _, _ in }
    ) throws(JSONProblem) -> JSONValue {
        index += 1
        var members: [(name: String, value: JSONValue)] = []
        var names = Names()
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object([]) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("expected a name") }
            let name = try string()
            guard names.isNew(name, among: members) else { throw problem("a name appears twice") }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw problem("expected a colon") }
            skipSpace()
            let start = index
            members.append((name, try value(depth: depth + 1)))
            each(name, start..<index)
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw problem("expected a comma or the end of the object") }
        }
    }

    private mutating func array(depth: Int, each: (Range<Int>) -> Void = { _ in }) throws(JSONProblem) -> JSONValue {
        index += 1
        var values: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array([]) }
        while true {
            skipSpace()
            let start = index
            values.append(try value(depth: depth + 1))
            each(start..<index)
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(values) }
            guard take(UInt8(ascii: ",")) else { throw problem("expected a comma or the end of the array") }
        }
    }

    private mutating func number() throws(JSONProblem) -> JSONValue {
        let start = index
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) {
            guard digits() > 0 else { throw problem("expected a digit") }
        }
        var isInteger = true
        if take(UInt8(ascii: ".")) {
            isInteger = false
            guard digits() > 0 else { throw problem("expected a digit") }
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isInteger = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
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
        let start = index
        // Most strings have no escape and are copied unchanged.
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { index += 1 }
        if take(UInt8(ascii: "\"")) { return try text(UnsafeBufferPointer(rebasing: bytes[start..<index - 1])) }
        var out = Array(bytes[start..<index])
        while let byte = next {
            index += 1
            switch byte {
            case UInt8(ascii: "\""): return try text(out)
            case UInt8(ascii: "\\"): try escape(into: &out)
            case 0..<0x20: throw problem("a control character in a string")
            default: out.append(byte)
            }
        }
        throw problem("a string that does not end")
    }

    private func text(_ bytes: some Collection<UInt8>) throws(JSONProblem) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw problem("not UTF-8") }
        guard rules.allowsControlCharacters || PlainText.refused(inUTF8: bytes, .lines) == nil else {
            throw problem("a control character in a string")
        }
        return text
    }

    private mutating func escape(into out: inout [UInt8]) throws(JSONProblem) {
        guard let byte = next else { throw problem("an incomplete escape") }
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
                guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
                    throw problem("an incomplete surrogate pair")
                }
                let low = UInt32(try fourDigits())
                guard (0xDC00...0xDFFF).contains(low) else { throw problem("an incomplete surrogate pair") }
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw problem("an incomplete surrogate pair") }
            out.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
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
