public import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// The proxies whose `X-Forwarded-Proto` and `X-Forwarded-Host` are believed.
public struct TrustedProxies: Sendable {
    private struct Network: Sendable {
        let address: [UInt8]
        let bits: Int
    }

    private var networks: [Network] = []

    /// None.
    public init() {}

    /// Addresses and networks, `10.0.0.0/8,fd00::/8,192.0.2.7`. Nil when one is none.
    public init?(parsing text: String) {
        for entry in text.split(separator: ",") {
            let parts = entry.trimmingWhitespace().split(separator: "/", omittingEmptySubsequences: false)
            guard let address = Self.bytes(String(parts[0])), parts.count <= 2 else { return nil }
            let bits = parts.count == 2 ? Int(parts[1]) : address.count * 8
            guard let bits, (0...(address.count * 8)).contains(bits) else { return nil }
            networks.append(Network(address: address, bits: bits))
        }
    }

    public func contains(_ peer: SocketAddress?) -> Bool {
        guard !networks.isEmpty, let text = peer?.ipAddress, let bytes = Self.bytes(text) else { return false }
        return networks.contains { network in
            guard network.address.count == bytes.count else { return false }
            return (0..<network.bits).allSatisfy { bit in
                let mask = UInt8(0x80) >> UInt8(bit % 8)
                return network.address[bit / 8] & mask == bytes[bit / 8] & mask
            }
        }
    }

    /// 4 or 16 bytes. An IPv4 address in IPv6 clothes counts as IPv4: that is how a dual-stack socket names its peer.
    private static func bytes(_ text: String) -> [UInt8]? {
        var four = [UInt8](repeating: 0, count: 4)
        if inet_pton(AF_INET, text, &four) == 1 { return four }
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, text, &bytes) == 1 else { return nil }
        let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
        return isMapped ? Array(bytes.suffix(4)) : bytes
    }
}

/// How the caller reached us, for the URLs in replies.
struct ClientView: Sendable {
    /// As configured; nothing else counts then.
    let publicURL: String?
    let scheme: String
    /// For a request without a usable `Host`.
    let fallbackURL: String
    let proxies: TrustedProxies

    /// `scheme://host:port`.
    func baseURL(host: String?, forwardedHost: String?, forwardedProto: String?, peer: SocketAddress?) -> String {
        if let publicURL { return publicURL }
        var (scheme, host) = (scheme, host)
        if forwardedHost != nil || forwardedProto != nil, proxies.contains(peer) {
            // The last value is the one that our own proxy wrote; those before it came from whoever called it.
            if let proto = Self.last(forwardedProto)?.lowercased(), ["http", "https"].contains(proto) {
                scheme = proto
            }
            if let forwarded = Self.last(forwardedHost), Self.isHost(forwarded) { host = forwarded }
        }
        guard let host, Self.isHost(host) else { return fallbackURL }
        return "\(scheme)://\(host)"
    }

    private static func last(_ list: String?) -> String? {
        list?.split(separator: ",").last.map { $0.trimmingWhitespace() }
    }

    static func isHost(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 255 && text.utf8.allSatisfy { isHostByte($0) }
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: ":"),
            UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
