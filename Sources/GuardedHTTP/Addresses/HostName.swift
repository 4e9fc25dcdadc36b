/// What a host name may look like and which names are never public.
enum HostName {
    /// A lower-case name of ASCII labels; nil when it is no host name. One trailing dot is taken away: the name is
    /// absolute in any case.
    static func normalised(_ text: Substring) -> String? {
        var name = text.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        guard (1...253).contains(name.utf8.count) else { return nil }
        for label in name.split(separator: ".", omittingEmptySubsequences: false) {
            guard isLabel(label) else { return nil }
        }
        return name
    }

    private static func isLabel(_ label: Substring) -> Bool {
        let bytes = Array(label.utf8)
        guard (1...63).contains(bytes.count), bytes.first != hyphen, bytes.last != hyphen else { return false }
        guard bytes.allSatisfy({ (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == hyphen })
        else { return false }
        // Two hyphens there announce an encoding, of which only this one exists (RFC 5891, 4.2.3.1).
        guard bytes.count > 3, bytes[2] == hyphen, bytes[3] == hyphen else { return true }
        return label.hasPrefix("xn--") && Punycode.isValid(bytes.dropFirst(4))
    }

    /// Whether a parser that is not strict could read the name as an IPv4 address: its last label is a number.
    static func looksLikeAddress(_ name: String) -> Bool {
        guard let last = name.split(separator: ".").last else { return true }
        return last.allSatisfy(\.isNumber) || (last.hasPrefix("0x") && last.dropFirst(2).allSatisfy(\.isHexDigit))
    }

    /// Names that no public name server answers for, and names of clusters and clouds.
    static func isSpecial(_ name: String) -> Bool {
        guard name.contains(".") else { return true }
        return suffixes.contains { name.hasSuffix($0) } || metadata.contains(name)
    }

    private static let suffixes = [
        ".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa", ".lan", ".intranet", ".test",
        ".invalid", ".onion", ".localdomain", ".corp", ".home", ".in-addr.arpa", ".ip6.arpa",
    ]
    private static let metadata: Set<String> = [
        "metadata.google.internal", "metadata.azure.com", "metadata.tencentyun.com",
    ]
    private static let hyphen = UInt8(ascii: "-")
}

/// RFC 3492, as far as it says whether a label can be decoded.
enum Punycode {
    /// - Parameter bytes: of the label behind `xn--`, lower case.
    static func isValid(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard !bytes.isEmpty else { return false }
        var digits = bytes
        var length = 0
        if let delimiter = bytes.lastIndex(of: UInt8(ascii: "-")) {
            length = bytes.distance(from: bytes.startIndex, to: delimiter)
            digits = bytes[(delimiter + 1)...]
        }
        // A label of ASCII alone is not encoded.
        guard !digits.isEmpty else { return false }
        var (scalar, index, bias) = (128, 0, 72)
        while !digits.isEmpty {
            let former = index
            var (weight, k) = (1, 36)
            while true {
                guard let byte = digits.popFirst(), let digit = digit(byte) else { return false }
                let (product, isTooMuch) = digit.multipliedReportingOverflow(by: weight)
                guard !isTooMuch, product <= Int(Int32.max) - index else { return false }
                index += product
                let threshold = min(max(k - bias, 1), 26)
                if digit < threshold { break }
                let (next, overflows) = weight.multipliedReportingOverflow(by: 36 - threshold)
                guard !overflows, next <= Int(Int32.max) else { return false }
                weight = next
                k += 36
            }
            length += 1
            bias = adapted(index - former, length: length, isFirst: former == 0)
            scalar += index / length
            index %= length
            guard scalar <= 0x10FFFF, !(0xD800...0xDFFF).contains(scalar) else { return false }
            index += 1
        }
        return true
    }

    private static func digit(_ byte: UInt8) -> Int? {
        switch byte {
        case 0x61...0x7A: Int(byte) - 0x61
        case 0x30...0x39: Int(byte) - 0x30 + 26
        default: nil
        }
    }

    private static func adapted(_ delta: Int, length: Int, isFirst: Bool) -> Int {
        var delta = isFirst ? delta / 700 : delta / 2
        delta += delta / length
        var k = 0
        while delta > 455 {
            delta /= 35
            k += 36
        }
        return k + 36 * delta / (delta + 38)
    }
}
