import HTTPEdge
import NIOCore

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
