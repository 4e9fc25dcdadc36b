public import NIOCore

/// Determines the URL at which a client reached a listener and the address of the client, for the URLs in replies, the
/// audit trail and the logs.
public struct ClientView: Sendable {
    private let publicURL: String?
    /// `http` or `https`, of the listener.
    public let scheme: String
    private let fallbackURL: String
    private let proxies: TrustedProxies

    /// - Parameters:
    ///   - publicURL: the configured URL, without a slash at its end. It replaces everything that the request says.
    ///     Nil: the request decides.
    ///   - scheme: `http` or `https`.
    ///   - fallbackURL: for a request without a usable `Host`.
    public init(publicURL: String?, scheme: String, fallbackURL: String, proxies: TrustedProxies) {
        self.publicURL = publicURL
        self.scheme = scheme
        self.fallbackURL = fallbackURL
        self.proxies = proxies
    }

    /// `scheme://host:port`.
    public func baseURL(host: String?, forwardedHost: String?, forwardedProto: String?, peer: SocketAddress?) -> String
    {
        if let publicURL { return publicURL }
        var (scheme, host) = (scheme, host)
        if forwardedHost != nil || forwardedProto != nil, proxies.contains(peer) {
            // The trusted proxy wrote the last value. The client wrote all earlier values.
            if let proto = Self.last(forwardedProto)?.lowercased(), ["http", "https"].contains(proto) {
                scheme = proto
            }
            if let forwarded = Self.last(forwardedHost), Self.isHost(forwarded) { host = forwarded }
        }
        guard let host, Self.isHost(host) else { return fallbackURL }
        return "\(scheme)://\(host)"
    }

    /// The client's address without a port. It is the peer's address, or, when the peer is a trusted proxy, the last
    /// address in `X-Forwarded-For` that is not a trusted proxy. Earlier addresses come from the client and prove
    /// nothing.
    /// - Returns: at most 64 characters; `unknown` for a peer without an address.
    public func address(forwardedFor: @autoclosure () -> [String], peer: SocketAddress?) -> String {
        let own = Self.short(peer?.ipAddress ?? "unknown")
        guard proxies.contains(own) else { return own }
        var nearest = own
        for entry in forwardedFor().flatMap({ $0.split(separator: ",") }).reversed() {
            guard let address = try? SocketAddress(ipAddress: entry.trimmed, port: 0) else { break }
            nearest = Self.short(address.ipAddress ?? nearest)
            if !proxies.contains(address) { break }
        }
        return nearest
    }

    private static func short(_ text: String) -> String { text.utf8.count <= 64 ? text : String(text.prefix(64)) }

    private static func last(_ list: String?) -> String? { list?.split(separator: ",").last?.trimmed }

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
