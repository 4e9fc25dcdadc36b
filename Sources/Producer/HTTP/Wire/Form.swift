/// `application/x-www-form-urlencoded`, as helper libraries and the mobile SDKs send it.
///
/// Pairs are split at `&` only, names from values at the first `=`; `;`, `/`, `=`, `:`, `?` in values stand for themselves,
/// because one SDK sends them so. `+` and `%20` are spaces. Names are case-sensitive and may repeat.
struct Form: Sendable, Equatable {
    struct Pair: Sendable, Equatable {
        let name: String
        let value: String
    }

    let pairs: [Pair]

    static let maxPairs = 200

    init(pairs: [Pair] = []) {
        self.pairs = pairs
    }

    /// - Throws: ``RuleViolation`` that names the parameter whose escapes are broken or whose bytes are no UTF-8, or says
    ///   that there are more than 200.
    init(_ bytes: some Collection<UInt8>) throws(RuleViolation) {
        var pairs: [Pair] = []
        for segment in bytes.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: true) {
            guard pairs.count < Self.maxPairs else {
                throw RuleViolation("body", "at most \(Self.maxPairs) parameters")
            }
            let equals = segment.firstIndex(of: UInt8(ascii: "=")) ?? segment.endIndex
            let rawName = segment[..<equals]
            let rawValue = equals == segment.endIndex ? segment[equals...] : segment[segment.index(after: equals)...]
            guard let name = Percent.decode(rawName, plusIsSpace: true) else {
                throw RuleViolation(
                    "a parameter name", "UTF-8 with % and two hexadecimal digits for what must be escaped")
            }
            guard let value = Percent.decode(rawValue, plusIsSpace: true) else {
                throw RuleViolation(name, "UTF-8 with % and two hexadecimal digits for what must be escaped")
            }
            pairs.append(Pair(name: name, value: value))
        }
        self.pairs = pairs
    }
}

enum Percent {
    /// Nil for a broken escape or bytes that are no UTF-8.
    static func decode(_ bytes: some Collection<UInt8>, plusIsSpace: Bool) -> String? {
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

    /// Everything but letters, digits, `-`, `.`, `_` and `~` escaped.
    static func encode(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                out.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                out += digits.utf8.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return out
    }
}
