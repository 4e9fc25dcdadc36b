/// `application/x-www-form-urlencoded` and the parts of a URL, escaped so that every server reads the same.
package enum FormEncoding {
    /// `name=value&…` in the given order; everything but unreserved characters (RFC 3986) is percent-escaped.
    package static func encode(_ fields: [(name: String, value: String)]) -> String {
        fields.map { "\(escape($0.name))=\(escape($0.value))" }.joined(separator: "&")
    }

    /// `text` with everything but letters, digits and `-._~` as UTF-8 percent escapes.
    package static func escape(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        out.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                out.append(byte)
            default: out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// The fields of a form, in order: split at `&`, then at the first `=`; `+` and `%20` are both a space. Nil when an
    /// escape is broken or what it spells is not UTF-8.
    package static func decode(_ text: String) -> [(name: String, value: String)]? {
        var fields: [(name: String, value: String)] = []
        for part in text.utf8.split(separator: UInt8(ascii: "&")) {
            let cut = part.firstIndex(of: UInt8(ascii: "="))
            guard let name = unescape(part[..<(cut ?? part.endIndex)]),
                let value = unescape(cut.map { part[part.index(after: $0)...] } ?? part[part.endIndex...])
            else { return nil }
            fields.append((name, value))
        }
        return fields
    }

    private static func unescape(_ bytes: Substring.UTF8View) -> String? {
        var out: [UInt8] = []
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+"): out.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(hex), let low = rest.popFirst().flatMap(hex) else {
                    return nil
                }
                out.append(high << 4 | low)
            default: out.append(byte)
            }
        }
        return String(validating: out, as: UTF8.self)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The value of query item `name` (case-sensitive) in a URL, unescaped.
    package static func queryItem(_ name: String, of url: String) -> String? {
        guard let cut = url.firstIndex(of: "?") else { return nil }
        let query = url[url.index(after: cut)...].prefix { $0 != "#" }
        return decode(String(query))?.first { $0.name == name }?.value
    }
}
