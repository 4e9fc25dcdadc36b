/// What may be connected to on a customer's word. Everything that is not public is refused unless it stands in the
/// allow-list.
public struct OutboundRules: Sendable, Hashable {
    /// One entry of the allow-list.
    public enum Allowed: Sendable, Hashable {
        /// A host name, with every address that it has; nil: any port.
        case name(String, port: Int?)
        case network(IPNetwork)
    }

    /// Refused by every name and number, unless the allow-list has it.
    public static let publicPorts: Set<Int> = [443, 8443]

    public var allowed: [Allowed] = []
    /// `http:` URLs, for hosts of the allow-list only.
    public var allowsClearText = false
    /// Our own brokers, database and admin addresses, and those of this machine's interfaces: refused even where they
    /// are public.
    public var ownAddresses: Set<IPAddress> = []
    /// The same by name.
    public var ownNames: Set<String> = []

    public init() {}

    /// Reads `hooks.internal,hooks.internal:8080,10.1.0.0/16,fd00::7`.
    /// - Returns: nil when an entry is neither a network nor a host name with or without a port.
    public init?(parsing text: String) {
        self.init()
        for entry in text.split(separator: ",") {
            var entry = entry.drop { $0.isWhitespace }
            while entry.last?.isWhitespace == true { entry.removeLast() }
            if let network = IPNetwork(entry) {
                allowed.append(.network(network))
                continue
            }
            let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2, let name = HostName.normalised(parts[0]), !HostName.looksLikeAddress(name) else {
                return nil
            }
            guard parts.count == 2 else {
                allowed.append(.name(name, port: nil))
                continue
            }
            guard let port = Int(parts[1]), (1...65_535).contains(port) else { return nil }
            allowed.append(.name(name, port: port))
        }
    }

    /// Whether a URL may name this host: the look at registration, and again before each attempt. Addresses behind a
    /// name are judged when they are known: ``refusal(of:behind:)``.
    func permits(_ host: CustomerURL.Host, port: Int, isTLS: Bool) -> Bool {
        let isListed = isListed(host, port: port)
        guard isTLS || (allowsClearText && isListed) else { return false }
        guard Self.publicPorts.contains(port) || isListed else { return false }
        switch host {
        case .address(let address): return refusal(of: address, behind: nil) == nil
        case .name(let name):
            guard !ownNames.contains(name) else { return false }
            // A name may be allowed by the network that it turns out to be in; a special one must be listed itself.
            return isListed || !HostName.isSpecial(name)
        }
    }

    /// Why an address is refused; nil: it may be connected to.
    /// - Parameter host: of the URL; an allowed name allows its addresses.
    func refusal(of address: IPAddress, behind host: CustomerURL?) -> String? {
        if ownAddresses.contains(address) { return "an address of our own" }
        if allowed.contains(where: { if case .network(let network) = $0 { network.contains(address) } else { false } })
        {
            return nil
        }
        if let host, case .name = host.host, isListed(host.host, port: host.port) { return nil }
        return AddressRules.refusal(of: address)
    }

    private func isListed(_ host: CustomerURL.Host, port: Int) -> Bool {
        allowed.contains { entry in
            switch (entry, host) {
            case (.name(let name, let only), .name(let given)): name == given && (only ?? port) == port
            case (.network(let network), .address(let address)): network.contains(address)
            // A name on an unusual port, whose addresses are judged later.
            case (.network, .name), (.name, .address): false
            }
        }
    }
}
