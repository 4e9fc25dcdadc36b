import Foundation

/// A provider's host, from an `https` URL without a path.
struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// - Throws: ``PushGatewayError`` naming the setting.
    init(url: String, setting: String) throws {
        guard let parts = URLComponents(string: url), parts.scheme == "https", let host = parts.host, !host.isEmpty,
            parts.path.isEmpty || parts.path == "/", parts.query == nil, parts.user == nil
        else {
            throw PushGatewayError(
                code: .configuration,
                message: "\(setting) is \"\(url)\"; it must be https://HOST[:PORT] and nothing more")
        }
        // URLComponents keeps the brackets of an IPv6 literal.
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        port = parts.port ?? 443
    }

    /// The host of a token endpoint, which has a path.
    init(tokenURL: String) throws {
        guard let parts = URLComponents(string: tokenURL), let host = parts.host,
            let origin = URL(string: "https://\(host):\(parts.port ?? 443)")
        else { throw PushGatewayError(code: .configuration, message: "a token endpoint's URL has no host") }
        try self.init(url: origin.absoluteString, setting: "tokenURL")
    }

    var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == 443 ? name : "\(name):\(port)"
    }

    var description: String { "\(host):\(port)" }

    /// The name for SNI and verification; nil for an address, which TLS verifies by itself and must not send.
    var serverName: String? {
        let isAddress = host.contains(":") || host.allSatisfy { $0.isNumber || $0 == "." }
        return isAddress ? nil : host
    }
}
