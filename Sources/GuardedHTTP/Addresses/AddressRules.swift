/// Which addresses are on the public internet: only what IANA's registries call global unicast. Everything else is
/// refused, because a customer who names such an address makes us knock on a door inside our own network.
///
/// Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6890 and what updates it.
enum AddressRules {
    /// Why an address is refused, for tests and our own log; nil: it is global unicast. A customer never sees the
    /// reason.
    static func refusal(of address: IPAddress) -> String? {
        address.isIPv4 ? refusalOfIPv4(address) : refusalOfIPv6(address)
    }

    private static func refusalOfIPv4(_ address: IPAddress) -> String? {
        ipv4.first { $0.network.contains(address) }?.reason
    }

    private static func refusalOfIPv6(_ address: IPAddress) -> String? {
        let bytes = address.bytes
        // The kernel connects to the IPv4 address inside (measured on Linux).
        if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF { return "IPv4-mapped" }
        if let found = ipv6.first(where: { $0.network.contains(address) }) { return found.reason }
        guard bytes[0] & 0xE0 == 0x20 else { return "not global unicast" }
        // ISATAP (RFC 5214) embeds an IPv4 address under any prefix.
        let isLocal = bytes[8] & 0xFD == 0 && bytes[9] == 0
        if isLocal, bytes[10] == 0x5E, bytes[11] == 0xFE { return "ISATAP" }
        return nil
    }

    private static let ipv4 = table([
        ("0.0.0.0/8", "this network"), ("10.0.0.0/8", "private"), ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"), ("169.254.0.0/16", "link-local"), ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"), ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay anycast"), ("192.168.0.0/16", "private"), ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"), ("203.0.113.0/24", "documentation"), ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        // Looks public, and is the host's own agent on Azure.
        ("168.63.129.16", "cloud platform agent"),
    ])

    private static let ipv6 = table([
        ("2001::/23", "protocol assignments"), ("2001:db8::/32", "documentation"), ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"), ("::/96", "IPv4-compatible"), ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"), ("64:ff9b:1::/48", "local NAT64"), ("100::/64", "discard"),
        ("5f00::/16", "segment routing"), ("fc00::/7", "unique local"), ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"), ("ff00::/8", "multicast"),
    ])

    private static func table(_ rows: [(String, String)]) -> [(network: IPNetwork, reason: String)] {
        rows.map { text, reason in
            guard let network = IPNetwork(text) else { preconditionFailure("\(text) is no address block") }
            return (network, reason)
        }
    }
}
