import NIOCore
import Testing

@testable import HTTPEdge

@Suite("Clients, and proxies in front of them")
struct ClientAddressTests {
    @Test(
        "networks hold the addresses of their prefix",
        arguments: [
            ("10.0.0.0/8", "10.200.3.4", true), ("10.0.0.0/8", "11.0.0.1", false), ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false), ("10.1.2.0/23", "10.1.3.9", true), ("10.1.2.0/23", "10.1.4.0", false),
            ("fd00::/8", "fd12::1", true), ("fd00::/8", "fe80::1", false), ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
        ])
    func networks(network: String, peer: String, isInside: Bool) throws {
        let proxies = try #require(TrustedProxies(parsing: network))
        #expect(proxies.contains(try SocketAddress(ipAddress: peer, port: 1)) == isInside)
        #expect(!TrustedProxies().contains(try SocketAddress(ipAddress: peer, port: 1)))
    }

    @Test("what is no network is refused", arguments: ["10.0.0.0/33", "10.0.0.0/x", "proxy", "10.0.0.0/8/8", "::/129"])
    func noNetworks(text: String) {
        #expect(TrustedProxies(parsing: text) == nil)
    }

    @Test("behind a trusted proxy the client is the last address that is none; what stands before it proves nothing")
    func addresses() throws {
        let proxies = try #require(TrustedProxies(parsing: "10.0.0.0/8"))
        let view = ClientView(publicURL: nil, scheme: "http", fallbackURL: "", proxies: proxies)
        let proxy = try SocketAddress(ipAddress: "10.0.0.1", port: 1)
        let stranger = try SocketAddress(ipAddress: "192.0.2.9", port: 1)
        #expect(view.address(forwardedFor: ["198.51.100.1"], peer: stranger) == "192.0.2.9")
        #expect(view.address(forwardedFor: [], peer: proxy) == "10.0.0.1")
        #expect(view.address(forwardedFor: ["203.0.113.1, 198.51.100.1", "10.2.3.4"], peer: proxy) == "198.51.100.1")
        #expect(view.address(forwardedFor: ["203.0.113.1, rubbish\n"], peer: proxy) == "10.0.0.1")
        #expect(view.address(forwardedFor: ["1.1.1.1"], peer: nil) == "unknown")
    }

    @Test("what a trusted proxy says of scheme and host counts, and what anybody else says does not")
    func baseURL() throws {
        let proxies = try #require(TrustedProxies(parsing: "10.0.0.0/8"))
        let view = ClientView(publicURL: nil, scheme: "http", fallbackURL: "http://[::1]:80", proxies: proxies)
        let proxy = try SocketAddress(ipAddress: "10.0.0.1", port: 1)
        let stranger = try SocketAddress(ipAddress: "192.0.2.9", port: 1)
        func url(_ host: String?, _ forwarded: String?, _ proto: String?, _ peer: SocketAddress?) -> String {
            view.baseURL(host: host, forwardedHost: forwarded, forwardedProto: proto, peer: peer)
        }
        #expect(url("a:8080", "b", "https", stranger) == "http://a:8080")
        #expect(url("a:8080", "evil, b", "http, https", proxy) == "https://b")
        #expect(url("a:8080", "b/c", "javascript", proxy) == "http://a:8080")
        #expect(url(nil, nil, nil, stranger) == "http://[::1]:80")
        let fixed = ClientView(publicURL: "https://v.example", scheme: "http", fallbackURL: "", proxies: proxies)
        #expect(
            fixed.baseURL(host: "a", forwardedHost: "b", forwardedProto: "http", peer: proxy) == "https://v.example")
    }
}
