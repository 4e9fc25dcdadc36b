import TestSupport
import Testing

@testable import GuardedHTTP

/// The forms of the table of addresses to refuse, by the number of their row. What needs a name server or a connection
/// is in ConnectorTests.
@Suite("Address forms that are refused")
struct AddressFormTests {
    @Test("a URL of each of these forms is refused", arguments: AddressForms.refused)
    func refused(row: Int, url: String) {
        #expect(throws: (any Error).self, "row \(row)") { _ = try CustomerURL(url, rules: OutboundRules()) }
    }

    @Test(
        "an address behind a public name is judged by the same table",
        arguments: [
            "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1",
            "192.0.0.8",
            "192.168.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1", "2001:0:1::1", "fe80::1", "fc00::1", "ff02::1", "2606::5efe:10.0.0.1",
        ])
    func judged(text: String) throws {
        let address = try #require(IPAddress(text))
        let url = try CustomerURL("https://example.com/", rules: OutboundRules())
        #expect(OutboundRules().refusal(of: address, behind: url) != nil)
    }

    @Test("one message tells nothing about what was refused")
    func oneMessage() {
        var messages: Set<String> = []
        for url in [
            "https://10.0.0.1/", "https://kafka/", "http://example.com/", "https://example.com:22/", "nonsense",
        ] {
            do {
                _ = try CustomerURL(url, rules: OutboundRules())
                Issue.record("\(url) is taken")
            } catch { messages.insert(error.description) }
        }
        #expect(messages.count == 1)
    }

    @Test(
        "public addresses and names are taken, in one form",
        arguments: [
            ("https://Example.COM.", "https://example.com/"), ("HTTPS://example.com:443/a?", "https://example.com/a"),
            ("https://example.com:8443", "https://example.com:8443/"), ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://[2606:4700:0:0:0:0:0:1111]/", "https://[2606:4700::1111]/"),
            ("https://172.32.0.1/", "https://172.32.0.1/"),
            ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
            ("https://example.com/a?b=1#rc=2", "https://example.com/a?b=1"),
        ])
    func taken(url: String, text: String) throws {
        #expect(try CustomerURL(url, rules: OutboundRules()).text == text)
    }

    @Test("the allow-list opens what it names, and nothing else")
    func allowList() throws {
        var rules = try #require(OutboundRules(parsing: "hooks.internal, relay.internal:8080, 10.1.0.0/16, fd00::7"))
        for url in [
            "https://hooks.internal/", "https://hooks.internal:9999/", "https://relay.internal:8080/",
            "https://10.1.2.3:81/",
            "https://[fd00::7]/",
        ] { #expect(throws: Never.self, "\(url)") { _ = try CustomerURL(url, rules: rules) } }
        for url in [
            "https://other.internal/", "https://relay.internal/", "https://10.2.0.1/", "https://[fd00::8]/",
            "http://hooks.internal/",
        ] { #expect(throws: (any Error).self, "\(url)") { _ = try CustomerURL(url, rules: rules) } }
        rules.allowsClearText = true
        #expect(throws: Never.self) { _ = try CustomerURL("http://hooks.internal/", rules: rules) }
        #expect(throws: (any Error).self) { _ = try CustomerURL("http://example.com/", rules: rules) }
        #expect(OutboundRules(parsing: "not a host") == nil)
        #expect(OutboundRules(parsing: "host:0") == nil)
    }

    @Test("our own names and addresses are refused even where they are public and allowed")
    func ownPlane() throws {
        var rules = try #require(OutboundRules(parsing: "8.8.8.0/24"))
        rules.ownNames = ["kafka.example.com"]
        rules.ownAddresses = [try #require(IPAddress("8.8.8.8"))]
        #expect(throws: (any Error).self) { _ = try CustomerURL("https://kafka.example.com/", rules: rules) }
        #expect(throws: (any Error).self) { _ = try CustomerURL("https://8.8.8.8/", rules: rules) }
        #expect(throws: Never.self) { _ = try CustomerURL("https://8.8.8.9/", rules: rules) }
    }

    @Test(
        "connection overrides have the API's ranges",
        arguments: [
            ("ct=2000&rt=300&tt=400&rc=5&rp=4xx,5xx,ct,rt", true), ("rp=all&sni=y&e=ashburn", true), ("ct=99", false),
            ("ct=10001", false), ("rt=15001", false), ("tt=99", false), ("rc=6", false), ("rc=-1", false),
            ("rp=6xx", false),
            ("sni=n", false), ("x=1", false), ("rc=1&rc=2", false), ("rc", false),
        ])
    func overrides(fragment: String, isTaken: Bool) {
        let url = try? CustomerURL("https://example.com/#\(fragment)", rules: OutboundRules())
        #expect((url != nil) == isTaken)
    }
}
