import AsyncHTTPClient
import ChallengeModel
import Challenges
import Crypto
import Foundation
import TestSupport
import Testing
import Wire

@testable import Producer

/// Random input against a running Producer: 20 s, or as long as `BECKON_FUZZ_SECONDS` says (`scripts/fuzz`). A failure
/// prints the seed; `BECKON_FUZZ_SEED` repeats it.
@Suite("Random input", .timeLimit(.minutes(30)))
struct FuzzTests {
    static let seconds = Double(ProcessInfo.processInfo.environment["BECKON_FUZZ_SECONDS"] ?? "") ?? 20
    static let seed =
        UInt64(ProcessInfo.processInfo.environment["BECKON_FUZZ_SEED"] ?? "") ?? UInt64.random(in: 0...UInt64.max)

    /// Without a read timeout: the timer of the shared client traps when a reply comes before the request has left, as
    /// a refusal of broken input may.
    static let client = HTTPClient(configuration: HTTPClient.Configuration())

    @Test("no crash, no 5xx but the documented 503, always a body of the API's form")
    func random() async throws {
        print("fuzz: seed \(Self.seed), \(Self.seconds) s")
        try await ProducerHarness.run(limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let challenge = "\(phone.challengesPath)/\(try created.text("sid"))"
            let read = try await producer.get(challenge, as: phone.token(nowMs: producer.clock.nowMs))
            let answer = try phone.answer(read, "approved")
            let end = ContinuousClock.now + .seconds(Self.seconds)
            let counts = try await withThrowingTaskGroup(of: [Int: Int].self) { group in
                for worker in 0..<4 {
                    group.addTask {
                        var input = FuzzInput(
                            generator: SeededGenerator(seed: Self.seed &+ UInt64(worker)), service: service,
                            phone: phone, challenge: challenge, answer: answer, account: producer.account)
                        var counts: [Int: Int] = [:]
                        while ContinuousClock.now < end {
                            let request = input.next(nowMs: producer.clock.nowMs)
                            let reply = try await producer.send(
                                request.method, request.path, body: nil, as: request.authorization,
                                headers: request.headers, client: Self.client, bytes: request.body)
                            counts[reply.status, default: 0] += 1
                            let isFine =
                                reply.status < 500
                                || reply.status == 503 && reply.header("Retry-After") != nil
                            #expect(isFine, "seed \(Self.seed): \(request) got \(reply.status) \(reply.text)")
                            if reply.status >= 400, request.method != "HEAD", !reply.bytes.isEmpty {
                                #expect((try? reply.code()) != nil, "seed \(Self.seed): \(request) got \(reply.text)")
                            }
                        }
                        return counts
                    }
                }
                var all: [Int: Int] = [:]
                for try await counts in group { all.merge(counts) { $0 + $1 } }
                return all
            }
            print("fuzz: statuses \(counts.sorted { $0.key < $1.key })")
            #expect(counts.values.reduce(0, +) > 100)
            #expect(
                counts[201] != nil && counts[400] != nil && counts[401] != nil, "the input reaches behind the doors")
            #expect(try await producer.get("/v2/Services", as: producer.backend).status == 200)
        }
    }
}

/// Makes requests: right ones with something broken in them.
struct FuzzInput {
    struct Request: CustomStringConvertible {
        var method: String
        var path: String
        var authorization: Authorization?
        var headers: [(String, String)]
        var body: [UInt8]?

        var description: String {
            "\(method) \(path) \(headers) \(body.map { Data($0.prefix(2000)).base64EncodedString() } ?? "-")"
        }
    }

    var generator: SeededGenerator
    let service: String
    let phone: TestDevice
    let challenge: String
    let answer: String
    let account: (sid: AccountSID, authToken: String)

    init(
        generator: SeededGenerator, service: String, phone: TestDevice, challenge: String, answer: String,
        account: AccountCredentials
    ) {
        self.generator = generator
        self.service = service
        self.phone = phone
        self.challenge = challenge
        self.answer = answer
        self.account = (account.sid, account.authToken)
    }

    static let strings: [String] = [
        "", " ", "\u{0}", "a", "-1", "0", "1e999", "9223372036854775808", "true", "null", "{}", "[]", "{\"a\":\"b\"}",
        "{\"a\":1}", "{\"a\":{}}", "[[[[", "{\"label\":\"a\",\"value\":\"b\"}", "\u{1F600}", "e\u{301}", "\u{202E}abc",
        "2030-01-01T00:00:00Z", "2030-13-01T00:00:00Z", "0000-00-00T00:00:00Z", "../../etc", "%00", "%", "%zz", "a&b=c",
        "YF" + String(repeating: "0", count: 32), "CR" + String(repeating: "f", count: 32), "push", "totp", "apn",
        "fcm",
        "none", "ES256", "-----BEGIN PRIVATE KEY-----\n", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", "AAAA====", "====",
    ]

    static let names = [
        "FriendlyName", "Identity", "FactorType", "FactorFriendlyName", "Ttl", "Binding.Alg", "Binding.PublicKey",
        "Config.AppId", "Config.NotificationPlatform", "Config.NotificationToken", "Config.SdkVersion",
        "Config.Environment",
        "Config.NotificationsEnabled", "Metadata", "AuthPayload", "Details.Message", "Details.Fields", "HiddenDetails",
        "ExpirationDate", "FactorSid", "Fallback", "Redelivery.MaxAttempts", "Redelivery.ExpectedLatency",
        "Redelivery.Confirm", "PageSize", "Page", "PageToken", "pageToken", "Status", "Order", "ReceiptToken",
        "Channel",
        "Shown", "DeviceTime", "Type", "TeamId", "KeyId", "PrivateKey", "ServiceAccount", "Sandbox", "Push.IncludeDate",
        "Push.ApnCredentialSid", "Totp.TimeStep", "CodeLength", "Actor", "Subject", "Status", "EventTypes",
        "WebhookUrl",
    ]

    mutating func next(nowMs: Int64) -> Request {
        let entity = "\(service)/Entities/user-0001"
        var path = pick([
            "/v2/Services", service, "\(service)/AccessTokens", "\(service)/Entities", entity, "\(entity)/Factors",
            phone.factorPath, "\(entity)/Challenges", challenge, "\(challenge)/Notifications", "\(challenge)/Receipts",
            "/v2/Receipts", "/v2/HmsReceipts", "/v1/Credentials", "/v1/AuditEvents", "/v1/Alerts", "/v1/Debugger",
            "\(service)/Webhooks",
        ])
        var method = pick(["GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH"])
        // What everything else stands on stays.
        if method == "DELETE", [service, entity, phone.factorPath].contains(path) { method = "GET" }
        if chance(15) { path += "/" + percent(text()) }
        var body: [UInt8]?
        if method == "POST" {
            body = form()
        } else if chance(2) {
            path +=
                "?"
                + String(decoding: form(), as: UTF8.self).filter {
                    $0.isASCII && $0 != " " && !$0.isNewline && $0 != "#" && $0 != "\u{0}"
                }
        }
        if chance(20), let some = body { body = broken(some) }
        var headers: [(String, String)] = []
        if method == "POST" {
            let type =
                chance(20)
                ? pick(["application/json", "text/plain", "", "multipart/form-data"])
                : "application/x-www-form-urlencoded"
            headers.append(("Content-Type", type))
        }
        if chance(10) { headers.append(("traceparent", pick(["00-x", "", String(repeating: "0", count: 55)]))) }
        return Request(
            method: method, path: path, authorization: authorization(nowMs: nowMs), headers: headers, body: body)
    }

    private mutating func authorization(nowMs: Int64) -> Authorization? {
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: return nil
        case 1, 2, 3: return .basic(account.sid.rawValue, account.authToken)
        case 4: return try? phone.token(nowMs: nowMs)
        case 5:
            let token = (try? phone.token(nowMs: nowMs))?.header ?? ""
            return Authorization(header: ascii(broken(Array(token.utf8))))
        case 6: return .basic("token", jwt(nowMs: nowMs))
        default: return .basic(text(), text())
        }
    }

    /// Signed by the right key, with members that are odd.
    private mutating func jwt(nowMs: Int64) -> String {
        let now = nowMs / 1000
        var header = ["typ": "\"JWT\"", "alg": "\"ES256\"", "cty": "\"twilio-pba;v=1\"", "kid": "\"\(phone.keyID)\""]
        var payload = ["sub": "\"\(phone.account)\"", "nbf": "\(now)", "exp": "\(now + 600)"]
        let odd = [
            "null", "1", "-1", "1e400", "9223372036854775807", "-9223372036854775808", "\"\"", "[]", "{}", "true",
            "\"\\ud800\"",
        ]
        if chance(2) {
            header[pick(["typ", "alg", "cty", "kid", "crit"])] = pick(odd)
        } else {
            payload[pick(["sub", "nbf", "exp"])] = pick(odd)
        }
        func part(_ members: [String: String]) -> String {
            Base64URL.encode("{\(members.map { "\"\($0)\":\($1)" }.joined(separator: ","))}".utf8)
        }
        let signed = "\(part(header)).\(part(payload))"
        let signature = (try? phone.key.signature(for: Data(signed.utf8)).rawRepresentation) ?? Data()
        return "\(signed).\(Base64URL.encode(signature))"
    }

    private mutating func form() -> [UInt8] {
        var pairs: [String] = []
        if chance(2) { pairs += phone.enrolment.map { "\($0.0)=\(percent($0.1))" } }
        if chance(3) { pairs.append("Details.Message=x") }
        if chance(4) { pairs.append("FriendlyName=x") }
        if chance(4) { pairs.append("AuthPayload=" + ascii(broken(Array(answer.utf8))).replacing("&", with: "")) }
        for _ in 0..<Int.random(in: 0..<6, using: &generator) {
            let name = chance(12) ? percent(text()) : pick(Self.names)
            pairs.append("\(name)=\(chance(10) ? text() : percent(text()))")
        }
        pairs.shuffle(using: &generator)
        return Array(pairs.joined(separator: "&").utf8)
    }

    private mutating func text() -> String {
        switch Int.random(in: 0..<6, using: &generator) {
        case 0:
            return String(
                decoding: (0..<Int.random(in: 0..<40, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }, as: UTF8.self)
        case 1:
            let depth = Int.random(in: 1..<5000, using: &generator)
            return String(repeating: pick(["[", "{\"a\":", "(", "a", "\u{1F600}", "="]), count: depth)
        default: return pick(Self.strings)
        }
    }

    /// A few bytes changed, taken out or repeated.
    private mutating func broken(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1..<5, using: &generator) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(contentsOf: bytes.prefix(index), at: index)
            default: bytes.removeSubrange(index...)
            }
        }
        return bytes
    }

    private func ascii(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.filter { (0x20..<0x7F).contains($0) }, as: UTF8.self)
    }

    private func percent(_ text: String) -> String { Percent.encode(text) }
    private mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &generator) == 0 }
    private mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: 0..<values.count, using: &generator)]
    }
}
