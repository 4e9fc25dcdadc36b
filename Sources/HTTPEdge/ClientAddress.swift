public import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The client that a connection counts for: an IPv4 address, or the /64 network of an IPv6 address, because one
/// subscriber gets a /64 network.
public struct ClientAddress: Hashable, Sendable {
    private let isIPv4: Bool
    private let bits: UInt64

    /// Nil for a Unix domain socket.
    public init?(_ address: SocketAddress?) {
        guard let text = address?.ipAddress else { return nil }
        self.init(text)
    }

    /// Nil when `text` is not an IP address. An IPv4 address in IPv6 form counts as IPv4.
    public init?(_ text: String) {
        guard let bytes = Self.bytes(text) else { return nil }
        isIPv4 = bytes.count == 4
        bits = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// 4 or 16 bytes. An IPv4 address in IPv6 form counts as IPv4, because a dual-stack socket gives the peer's address
    /// in this form.
    static func bytes(_ text: String) -> [UInt8]? {
        var four = [UInt8](repeating: 0, count: 4)
        if inet_pton(AF_INET, text, &four) == 1 { return four }
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, text, &bytes) == 1 else { return nil }
        let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
        return isMapped ? Array(bytes.suffix(4)) : bytes
    }
}

/// The proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are believed.
public struct TrustedProxies: Sendable {
    private struct Network: Sendable {
        let address: [UInt8]
        let bits: Int
    }

    private var networks: [Network] = []

    /// None.
    public init() {}

    /// Reads addresses and networks, `10.0.0.0/8,fd00::/8,192.0.2.7`. Nil when an entry is neither.
    public init?(parsing text: String) {
        for entry in text.split(separator: ",") {
            let parts = entry.trimmed.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count <= 2, let first = parts.first, let address = ClientAddress.bytes(String(first)) else {
                return nil
            }
            let bits = parts.count == 2 ? Int(parts[1]) : address.count * 8
            guard let bits, (0...(address.count * 8)).contains(bits) else { return nil }
            networks.append(Network(address: address, bits: bits))
        }
    }

    public func contains(_ peer: SocketAddress?) -> Bool { peer?.ipAddress.map { contains($0) } ?? false }

    /// - Parameter address: as text.
    func contains(_ address: String) -> Bool {
        guard !networks.isEmpty, let bytes = ClientAddress.bytes(address) else { return false }
        return networks.contains { network in
            guard network.address.count == bytes.count else { return false }
            return (0..<network.bits).allSatisfy { bit in
                let mask = UInt8(0x80) >> UInt8(bit % 8)
                return network.address[bit / 8] & mask == bytes[bit / 8] & mask
            }
        }
    }

    /// The client of a trusted proxy: the last address in `X-Forwarded-For` that is not itself a trusted proxy. Earlier
    /// addresses come from the client and prove nothing.
    /// - Parameter forwardedFor: the header's lines, in order.
    /// - Returns: nil when the header contains no such address.
    func client(forwardedFor: [String]) -> ClientAddress? {
        for entry in forwardedFor.joined(separator: ",").split(separator: ",").reversed() {
            let text = entry.trimmed
            guard let address = ClientAddress(text) else { return nil }
            if !contains(text) { return address }
        }
        return nil
    }
}

extension Substring {
    /// The text without white space at its ends.
    var trimmed: String {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
