/// Why a text is not taken as a customer's URL.
public enum CustomerURLError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Its form, its host, its port or its scheme. One message for all of them: what tells an inside name from an
    /// outside one would map our network for whoever asks.
    case refused
    /// What is wrong with the fragment.
    case overrides(String)

    public var description: String {
        switch self {
        case .refused:
            "a URL like https://hooks.example.com/path of at most 2048 ASCII characters: public host name or address, port 443 or "
                + "8443, no user, no password, no quotes, brackets, backslashes or dot segments in path and query"
        case .overrides(let detail): detail
        }
    }
}

/// A URL that a customer named, read strictly: what two parsers could read differently is refused. Rows of the table of
/// address forms in `Tests/GuardedHTTPTests` say which forms.
///
/// The URL is kept in the one form in which every published signature validator sees it: lower-case scheme and host, no
/// default port, a path.
public struct CustomerURL: Sendable, Hashable {
    public enum Host: Sendable, Hashable {
        /// Lower case, without a trailing dot.
        case name(String)
        case address(IPAddress)
    }

    public let isTLS: Bool
    public let host: Host
    public let port: Int
    /// Path and query: what stands in the request line.
    public let target: String
    public let overrides: ConnectionOverrides
    private let fragment: String

    /// As it is signed and requested: without the fragment.
    public var text: String { "\(isTLS ? "https" : "http")://\(authority)\(target)" }
    /// As it is stored and shown: with the fragment.
    public var storedText: String { fragment.isEmpty ? text : "\(text)#\(fragment)" }
    /// Host and, unless it is the scheme's own, port: the `Host` header.
    public var authority: String { port == (isTLS ? 443 : 80) ? hostText : "\(hostText):\(port)" }

    /// The host as it stands in a URL.
    public var hostText: String {
        switch host {
        case .name(let name): name
        case .address(let address): address.isIPv4 ? address.description : "[\(address)]"
        }
    }

    /// - Parameter rules: which hosts, ports and schemes are allowed.
    /// - Throws: ``CustomerURLError``.
    public init(_ text: String, rules: OutboundRules) throws(CustomerURLError) {
        guard (1...2048).contains(text.utf8.count),
            text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && !Self.forbidden.contains($0) })
        else { throw .refused }
        let lowered = text.prefix(8).lowercased()
        guard lowered.hasPrefix("https://") || lowered.hasPrefix("http://") else { throw .refused }
        isTLS = lowered.hasPrefix("https://")
        let rest = text.dropFirst(isTLS ? 8 : 7)
        let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
        (host, port) = try Self.authority(rest[..<end], isTLS: isTLS)
        let behind = rest[end...]
        let hash = behind.firstIndex(of: "#")
        target = try Self.target(behind[..<(hash ?? behind.endIndex)])
        let fragment = hash.map { behind[behind.index(after: $0)...] } ?? ""
        overrides = try ConnectionOverrides(fragment: fragment)
        self.fragment = String(fragment)
        guard rules.permits(host, port: port, isTLS: isTLS) else { throw .refused }
    }

    /// Characters that some serialiser encodes, or some parser takes for another. Brackets are allowed in an IPv6 host
    /// only.
    private static let forbidden = Set("\"'<>\\^`{|}".utf8)

    private static func authority(
        _ text: Substring, isTLS: Bool
    ) throws(CustomerURLError) -> (Host, Int) {
        // User information hides the host, and stands in logs.
        guard !text.isEmpty, !text.contains("@"), !text.contains("%") else { throw .refused }
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]"),
                let address = IPAddress(text[text.index(after: text.startIndex)..<close]), !address.isIPv4
            else { throw .refused }
            return (.address(address), try port(text[text.index(after: close)...], isTLS: isTLS))
        }
        let colon = text.firstIndex(of: ":") ?? text.endIndex
        guard let name = HostName.normalised(text[..<colon]) else { throw .refused }
        let port = try port(text[colon...], isTLS: isTLS)
        guard HostName.looksLikeAddress(name) else { return (.name(name), port) }
        guard let address = IPAddress(name) else { throw .refused }
        return (.address(address), port)
    }

    /// - Parameter text: empty, or a colon and the port.
    private static func port(_ text: Substring, isTLS: Bool) throws(CustomerURLError) -> Int {
        guard !text.isEmpty else { return isTLS ? 443 : 80 }
        let digits = text.dropFirst()
        guard text.first == ":", (1...5).contains(digits.utf8.count), digits.first != "0",
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = Int(digits), port <= 65_535
        else { throw .refused }
        return port
    }

    private static func target(_ text: Substring) throws(CustomerURLError) -> String {
        guard !text.contains("["), !text.contains("]"), hasOnlyGoodEscapes(text) else { throw .refused }
        let mark = text.firstIndex(of: "?") ?? text.endIndex
        let path = text[..<mark]
        let query = text[mark...]
        for segment in path.split(separator: "/") {
            let plain = segment.lowercased().replacing("%2e", with: ".")
            guard plain != ".", plain != ".." else { throw .refused }
        }
        // A receiver looks at the first one only; the sender's own comes last.
        guard !query.lowercased().contains("bodysha256") else { throw .refused }
        // The Python library's parser loses an empty query, and parameters of the path that are empty.
        guard !path.hasSuffix(";") else { throw .refused }
        return (path.isEmpty ? "/" : String(path)) + (query == "?" ? "" : query)
    }

    /// Every `%` has two hexadecimal digits behind it, and stands for no control character.
    private static func hasOnlyGoodEscapes(_ text: Substring) -> Bool {
        var rest = text.utf8[...]
        while let percent = rest.firstIndex(of: UInt8(ascii: "%")) {
            let digits = rest[rest.index(after: percent)...].prefix(2)
            guard digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16),
                digits.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }), value >= 0x20, value != 0x7F
            else { return false }
            rest = rest[digits.endIndex...]
        }
        return true
    }
}
