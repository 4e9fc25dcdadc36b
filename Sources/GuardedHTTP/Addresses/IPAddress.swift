public import NIOCore

/// An IPv4 or IPv6 address, without a port and without a zone.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    /// 4 or 16, most significant first.
    public let bytes: [UInt8]

    /// - Parameter bytes: 4 or 16.
    public init(_ bytes: [UInt8]) {
        precondition(bytes.count == 4 || bytes.count == 16, "an IP address has 4 or 16 bytes")
        self.bytes = bytes
    }

    public var isIPv4: Bool { bytes.count == 4 }

    /// Reads a strict dotted quad (four decimal numbers without leading zeros) or an IPv6 address (RFC 4291, without
    /// brackets and without a zone). Short forms, octal and hexadecimal numbers, which `inet_aton` takes, are no
    /// addresses here.
    public init?(_ text: some StringProtocol) {
        if let four = Self.quad(text) {
            bytes = four
        } else if let sixteen = Self.groups(text) {
            bytes = sixteen
        } else {
            return nil
        }
    }

    /// Nil for a socket address that is none of IPv4 and IPv6.
    public init?(_ address: SocketAddress) {
        guard let text = address.ipAddress else { return nil }
        self.init(text)
    }

    /// The address with a port, for a socket.
    public func socketAddress(port: Int) throws -> SocketAddress {
        try SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: port)
    }

    /// The one form of RFC 5952, in which URL serialisers write it too.
    public var description: String {
        guard !isIPv4 else { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        var longest = 0..<0
        var start = 0
        for index in 0...8 where index == 8 || groups[index] != 0 {
            if index - start > max(longest.count, 1) { longest = start..<index }
            start = index + 1
        }
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard !longest.isEmpty else { return text(groups[...]) }
        return "\(text(groups[..<longest.lowerBound]))::\(text(groups[longest.upperBound...]))"
    }

    private static func quad(_ text: some StringProtocol) -> [UInt8]? {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != 0x30, let value = UInt8(String(decoding: part, as: UTF8.self))
            else { return nil }
            bytes.append(value)
        }
        return bytes
    }

    private static func groups(_ text: some StringProtocol) -> [UInt8]? {
        let text = String(text)
        guard text.utf8.contains(UInt8(ascii: ":")), text.utf8.count <= 45 else { return nil }
        let halves = halves(text)
        guard halves.count <= 2 else { return nil }
        var parsed: [[UInt8]] = []
        for (index, half) in halves.enumerated() {
            guard let bytes = bytes(of: half, mayEndInQuad: index == halves.count - 1) else { return nil }
            parsed.append(bytes)
        }
        guard halves.count == 2 else { return parsed[0].count == 16 ? parsed[0] : nil }
        let missing = 16 - parsed[0].count - parsed[1].count
        // "::" stands for one group at least.
        guard missing >= 2 else { return nil }
        return parsed[0] + Array(repeating: 0, count: missing) + parsed[1]
    }

    /// What stands on both sides of `::`; more than two parts when it stands twice.
    private static func halves(_ text: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = Substring(text)
        while let range = rest.firstRange(of: "::") {
            parts.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        return parts + [rest]
    }

    private static func bytes(of half: Substring, mayEndInQuad: Bool) -> [UInt8]? {
        guard !half.isEmpty else { return [] }
        let parts = half.split(separator: ":", omittingEmptySubsequences: false)
        var bytes: [UInt8] = []
        for (index, part) in parts.enumerated() {
            if mayEndInQuad, index == parts.count - 1, part.utf8.contains(UInt8(ascii: ".")) {
                guard let four = quad(part) else { return nil }
                bytes += four
                continue
            }
            guard (1...4).contains(part.utf8.count), part.allSatisfy(\.isHexDigit), part.allSatisfy(\.isASCII),
                let value = UInt16(part, radix: 16)
            else { return nil }
            bytes += [UInt8(value >> 8), UInt8(value & 255)]
        }
        return bytes.count <= 16 ? bytes : nil
    }
}

/// An address block: `10.0.0.0/8`, `fd00::/8`. An address alone is the block of itself.
public struct IPNetwork: Sendable, Hashable {
    public let address: IPAddress
    /// Leading bits that count: 0 to 32, or 0 to 128.
    public let prefix: Int

    public init(_ address: IPAddress, prefix: Int) {
        self.address = address
        self.prefix = prefix
    }

    /// Nil for what is neither `address` nor `address/bits`.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = IPAddress(parts[0]) else { return nil }
        let most = address.bytes.count * 8
        guard parts.count == 2 else {
            self.init(address, prefix: most)
            return
        }
        guard let bits = Int(parts[1]), (0...most).contains(bits), parts[1].allSatisfy(\.isNumber) else { return nil }
        self.init(address, prefix: bits)
    }

    public func contains(_ other: IPAddress) -> Bool {
        guard other.bytes.count == address.bytes.count else { return false }
        var left = prefix
        for (one, two) in zip(address.bytes, other.bytes) where left > 0 {
            let mask: UInt8 = left >= 8 ? 0xFF : ~(0xFF >> UInt8(left))
            guard one & mask == two & mask else { return false }
            left -= 8
        }
        return true
    }
}
