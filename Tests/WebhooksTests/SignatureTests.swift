import ChallengeModel
import Crypto
import Foundation
import GuardedHTTP
import TestSupport
import Testing
import Wire

@testable import Webhooks

@Suite("Signatures of webhooks")
struct SignatureTests {
    /// URLs that receivers, proxies and parsers disagree about, as far as registration takes them.
    static let urls = [
        "https://hooks.example.com", "https://hooks.example.com/", "HTTPS://Hooks.Example.COM:443/Path",
        "https://hooks.example.com:8443/hooks", "https://hooks.example.com./hooks",
        "https://example.com//double//slash/",
        "https://example.com/p?", "https://example.com/p?a", "https://example.com/p?a=",
        "https://example.com/p?a=1&a=2&b",
        "https://example.com?x=1", "https://example.com/p?q=a+b", "https://example.com/p?q=a%20b%2Bc",
        "https://example.com/p?q=%e2%82%ac", "https://example.com/p?q=%E2%82%AC&r=%2f", "https://example.com/a;b=c/d;e",
        "https://example.com/@user:pw/x", "https://example.com/p?next=https://other.example/x:443@y",
        "https://example.com/~me/p!$&()*+,;=x", "https://example.com/p?semi;colon;=",
        "https://example.com/p?k=v#rc=3&rp=5xx",
        "https://example.com/p#ct=100", "https://xn--bcher-kva.example/katalog", "https://8.8.8.8/dns",
        "https://[2606:4700:4700:0:0:0:0:1111]/v6", "https://[2606:4700:4700::1111]:8443/v6",
        "https://a-very-long-label-of-sixty-three-characters-which-is-the-most-0.example.com/x",
        "https://example.com/%41%42%43?%61=%62", "https://example.com/p?=&==&&=x",
        "https://example.com/p?q=1%2C2,3:4@5",
        "https://example.com/path.with.dots/..x/x..?..",
    ]

    /// Values that parsers trim, drop, fold or read as something else.
    static let values: [EventValue] = [
        "plain", "", " ", "  both ends  ", "\t\r\n line \r\n", "a\r\nb", "a+b c%20d", "a&b=c&d", "100%", "ümläut",
        "日本語", "e\u{301}",
        "🙂👩‍👩‍👧‍👦", "\u{202E}rtl", "\u{00A0}nbsp\u{00A0}", "null", "true", "0", "007", "<b>&amp;</b>", "'\"`\\", "{\"a\":1}",
        "[]",
        "=", "&", "?", "#", ";", .integer(-7), .boolean(false), .null, .list(["a", .integer(1)]),
        .object(["b": "ü", "a": .null]),
        .string(String(repeating: "ä+ ", count: 700)),
    ]

    @Test(
        "published validators accept 31 awkward URLs with 34 awkward values, form and JSON, and refuse altered requests"
    )
    func publishedValidators() async throws {
        let secrets = [
            WebhookSecret(bytes: (0..<32).map { UInt8($0) }), WebhookSecret(bytes: (0..<24).map { UInt8(200 + $0) }),
        ]
        let credentials = WebhookCredentials(authToken: "5f2c0b1d9e", secrets: secrets)
        var cases: [Case] = []
        for (index, text) in Self.urls.enumerated() {
            let url = try CustomerURL(text, rules: OutboundRules())
            for format in WebhookFormat.allCases {
                let event = Self.event(values: Self.values.enumerated().map { ("v\($0)_\(index)", $1) })
                let request = WebhookRequest(
                    event, bytes: event.jsonBytes(), webhook: "YW1", url: url, format: format, version: "v2",
                    credentials: credentials, timestamp: Int64(Date().timeIntervalSince1970))
                cases.append(Case(url, request, isForm: format == .form, credentials: credentials))
            }
        }
        let (status, output) = try await Validators.run(cases)
        if status == 77 { try Test.cancel("\(output)") }
        #expect(status == 0, "\(output)")
        let result = try JSONDecoder().decode(Result.self, from: Data(output.utf8))
        // Each with three validators, genuine and altered in four ways; two secrets, altered in four ways.
        #expect(result.checked == cases.count * (3 * 5 + 2 + 4))
        #expect(result.problems == [])
    }

    @Test("the Python library's own vector")
    func publishedVector() {
        let signature = TwilioSignature.form(
            url: "https://mycompany.com/myapp.php?foo=1&bar=2",
            parameters: [
                ("CallSid", "CA1234567890ABCDE"), ("Digits", "1234"), ("From", "+14158675309"), ("To", "+18005551212"),
                ("Caller", "+14158675309"),
            ], authToken: "12345")
        #expect(signature == "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
    }

    @Test("the standard's own vector")
    func standardVector() throws {
        let secret = WebhookSecret(bytes: try #require(Base64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")))
        let signature = StandardWebhooks.signature(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330,
            body: Array(#"{"test": 2432232314}"#.utf8), secrets: [secret])
        #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test("the id of a message has no dot, is stable, and differs by webhook")
    func messageID() {
        let id = StandardWebhooks.messageID(event: "YC1/challenge.approved", webhook: "YW1")
        #expect(id.hasPrefix("msg_"))
        #expect(!id.contains("."))
        #expect(id == StandardWebhooks.messageID(event: "YC1/challenge.approved", webhook: "YW1"))
        #expect(id != StandardWebhooks.messageID(event: "YC1/challenge.approved", webhook: "YW2"))
    }

    @Test("a form has the members of its version, trimmed, without what is empty")
    func formFields() {
        let event = Self.event(values: [
            ("identity", " ada "), ("empty", " "), ("factor_sid", "YF1"), ("dispatch", "c"),
        ])
        let second = Dictionary(
            uniqueKeysWithValues: FormBody.fields(of: event, version: "v2").map { ($0.name, $0.value) })
        #expect(second["entity_identity"] == "ada")
        #expect(second["identity"] == nil)
        #expect(second["empty"] == nil)
        #expect(second["type"] == "challenge.approved")
        #expect(second["event_id"] == "YC1/challenge.approved")
        #expect(second["uuid"]?.count == 36)
        let first = FormBody.fields(of: event, version: "v1").map(\.name)
        #expect(first == ["entity_identity", "factor_sid", "type", "uuid"])
    }

    static func event(values: [(String, EventValue)]) -> CloudEvent {
        CloudEvent(
            id: "YC1/challenge.approved", type: .challengeApproved, account: "AC1", service: "VA1", subject: "YC1",
            timeMs: 1_700_000_000_000, sequence: 1, writer: .producer, data: Dictionary(uniqueKeysWithValues: values))
    }

    private struct Result: Decodable {
        let checked: Int
        let problems: [String]
    }
}

/// A request as a receiver sees it.
private struct Case: Encodable {
    let url: String
    let body: String
    let form: Bool
    let token: String
    let signature: String
    let secrets: [String]
    let id: String
    let timestamp: String
    let standard: String

    enum CodingKeys: String, CodingKey {
        case url, body, form, token, signature, secrets
        case id = "webhook-id"
        case timestamp = "webhook-timestamp"
        case standard = "webhook-signature"
    }

    init(_ url: CustomerURL, _ request: WebhookRequest, isForm: Bool, credentials: WebhookCredentials) {
        func header(_ name: String) -> String { request.headers.last { $0.name == name }?.value ?? "" }
        self.url = "https://\(url.authority)\(request.target)"
        body = String(decoding: request.body, as: UTF8.self)
        form = isForm
        token = credentials.authToken
        signature = header(TwilioSignature.headerName)
        secrets = credentials.secrets.map(\.text)
        id = header(StandardWebhooks.idHeader)
        timestamp = header(StandardWebhooks.timestampHeader)
        standard = header(StandardWebhooks.signatureHeader)
    }
}

private enum Validators {
    static func run(_ cases: [Case]) async throws -> (Int32, String) {
        let input = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).json")
        try JSONEncoder().encode(cases).write(to: input)
        defer { try? FileManager.default.removeItem(at: input) }
        let run = try await ToolRun.of("Tests/WebhooksTests/validators/run", input: input)
        return (run.status, run.output)
    }
}
