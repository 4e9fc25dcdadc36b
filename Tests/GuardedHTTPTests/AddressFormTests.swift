import Testing

@testable import GuardedHTTP

/// The forms of the table of addresses to refuse, by the number of their row. What needs a name server or a connection
/// is in ConnectorTests.
@Suite("Address forms that are refused")
struct AddressFormTests {
    @Test(
        "a URL of each of these forms is refused",
        arguments: [
            (1, "http://example.com/"), (2, "file:///etc/passwd"), (2, "ftp://example.com/"),
            (2, "gopher://example.com/"),
            (2, "data:text/plain,x"), (2, "unix:/run/x"), (2, "example.com/x"), (2, "//example.com/"),
            (3, "https://good.example@10.0.0.1/"), (3, "https://u:p@example.com/"),
            (4, "https://good.example\\@10.0.0.1/"),
            (5, "https://example.com/a b"), (5, "https://example.com/\t"), (5, "https://example.com/\r\nX: y"),
            (5, "https://example.com/\u{0}"), (5, "https://example.com/é"), (6, "https:///x"), (6, "https://:443/"),
            (6, "https:example.com"), (7, "https://%31%32%37.0.0.1/"), (7, "https://%6cocalhost/"),
            (8, "https://example.com#@10.0.0.1/"), (8, "https://example.com/#x"), (9, "https://１２７.0.0.1/"),
            (9, "https://127。0。0。1/"), (9, "https://ⓛocalhost/"), (10, "https://xn--a/"), (10, "https://xn--.example/"),
            (10, "https://xn--99999999999.example/"), (10, "https://ab--c.example/"), (10, "https://a_b.example/"),
            (10, "https://-a.example/"), (10, "https://a-.example/"),
            (10, "https://\(String(repeating: "a", count: 64)).example/"), (11, "https://localhost./"),
            (11, "https://10.0.0.1./"), (11, "https://example.com../"), (11, "https://metadata.google.internal./"),
            (12, "https://localhost/"), (12, "https://kafka/"), (13, "https://a.localhost/"), (13, "https://a.local/"),
            (13, "https://a.internal/"), (13, "https://a.b.svc/"), (13, "https://a.b.svc.cluster.local/"),
            (13, "https://a.home.arpa/"), (13, "https://a.lan/"), (13, "https://a.intranet/"), (13, "https://a.test/"),
            (13, "https://a.invalid/"), (13, "https://a.onion/"), (15, "https://127.0.0.1/"),
            (15, "https://127.8.8.8/"),
            (16, "https://2130706433/"), (17, "https://0x7f000001/"), (17, "https://0x7f.0.0.1/"),
            (17, "https://0x7f.1/"),
            (18, "https://017700000001/"), (18, "https://0177.0.0.1/"), (19, "https://127.0.0.01/"),
            (19, "https://010.0.0.1/"),
            (19, "https://0127.0.0.1/"), (20, "https://127.1/"), (20, "https://127.0.1/"), (20, "https://10.1/"),
            (20, "https://0/"), (21, "https://4294967295/"), (21, "https://256.1.1.1/"), (21, "https://1.2.3.4.5/"),
            (21, "https://0x17f000001/"), (21, "https://example.99/"), (22, "https://0.0.0.0/"),
            (22, "https://0.1.2.3/"),
            (23, "https://10.1.2.3/"), (24, "https://172.16.0.1/"), (24, "https://172.31.255.255/"),
            (25, "https://192.168.1.1/"),
            (26, "https://100.64.0.1/"), (26, "https://100.100.100.200/"), (27, "https://169.254.169.254/"),
            (28, "https://169.254.170.2/"), (28, "https://169.254.170.23/"), (29, "https://192.0.0.192/"),
            (29, "https://192.0.0.170/"), (30, "https://192.0.2.1/"), (30, "https://198.51.100.1/"),
            (30, "https://203.0.113.9/"),
            (31, "https://198.18.0.1/"), (31, "https://198.19.255.255/"), (32, "https://192.88.99.1/"),
            (33, "https://224.0.0.1/"),
            (33, "https://239.255.255.255/"), (34, "https://240.0.0.1/"), (35, "https://255.255.255.255/"),
            (36, "https://168.63.129.16/"), (39, "https://[::1]/"), (40, "https://[::]/"),
            (41, "https://[::ffff:127.0.0.1]/"),
            (41, "https://[::ffff:7f00:1]/"), (41, "https://[::ffff:8.8.8.8]/"), (42, "https://[::127.0.0.1]/"),
            (42, "https://[::7f00:1]/"), (43, "https://[::ffff:0:127.0.0.1]/"), (44, "https://[64:ff9b::7f00:1]/"),
            (45, "https://[64:ff9b:1::1]/"), (46, "https://[2002:7f00:1::]/"), (47, "https://[2001::1]/"),
            (48, "https://[2606:4700::5efe:7f00:1]/"), (48, "https://[2606:4700::200:5efe:127.0.0.1]/"),
            (49, "https://[fe80::1]/"), (49, "https://[febf::1]/"), (50, "https://[fe80::1%25eth0]/"),
            (50, "https://[fe80::1%lo]/"), (51, "https://[fec0::1]/"), (52, "https://[fc00::1]/"),
            (52, "https://[fd00:ec2::254]/"), (52, "https://[fd20:ce::254]/"), (53, "https://[ff02::1]/"),
            (54, "https://[100::1]/"), (55, "https://[2001:db8::1]/"), (55, "https://[3fff::1]/"),
            (56, "https://[5f00::1]/"),
            (57, "https://[2001:20::1]/"), (57, "https://[2001:2::1]/"), (57, "https://[4000::1]/"),
            (57, "https://[1::1]/"),
            (58, "https://[v1.x]/"), (58, "https://[::1"), (58, "https://::1/"), (58, "https://[1::2::3]/"),
            (58, "https://[127.0.0.1]/"), (59, "https://metadata.google.internal/"), (59, "https://metadata/"),
            (59, "https://instance-data/"), (60, "https://example.com:0/"), (60, "https://example.com:65536/"),
            (60, "https://example.com:/"), (60, "https://example.com:0443/"), (60, "https://example.com:+443/"),
            (60, "https://example.com:443:443/"), (61, "https://example.com:22/"), (61, "https://example.com:6379/"),
            (61, "https://example.com:9092/"), (61, "https://example.com:80/"),
        ])
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
