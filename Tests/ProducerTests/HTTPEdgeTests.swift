import AsyncHTTPClient
import ChallengeModel
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("The edges of HTTP", .timeLimit(.minutes(5)))
struct HTTPEdgeTests {
    @Test("every answer has Date and a request id; errors have the API's body")
    func headers() async throws {
        try await ProducerHarness.run { producer in
            let answers = [
                try await producer.get("/v2/Services", as: producer.backend), try await producer.get("/v2/Services"),
                try await producer.get("/nowhere"), try await producer.get("/v2/Services/VA1", as: producer.backend),
            ]
            #expect(answers.map(\.status) == [200, 401, 404, 404])
            for answer in answers {
                #expect(answer.header("Date")?.hasSuffix("GMT") == true)
                #expect(answer.header("Twilio-Request-Id")?.contains(#/^RQ[0-9a-f]{32}$/#) == true)
                #expect(answer.header("Content-Type") == "application/json")
            }
            for answer in answers.dropFirst() {
                #expect(try answer.json()["status"]?.integerValue == Int64(answer.status))
                let code = try answer.code()
                #expect(try answer.text("more_info") == "https://www.twilio.com/docs/errors/\(code)")
                #expect(try !answer.text("message").isEmpty)
            }
            #expect(
                producer.metrics.count(
                    .requests, [("route", "/v2/Services"), ("method", "GET"), ("class", "4xx")]) == 1)
        }
    }

    @Test("405 names what is allowed, 413 and 415 say what would be")
    func methods() async throws {
        try await ProducerHarness.run { producer in
            let put = try await producer.send("PUT", "/v2/Services", as: producer.backend)
            #expect(put.status == 405)
            #expect(try put.code() == 20004)
            #expect(put.header("Allow") == "GET, POST")
            let head = try await producer.send("HEAD", "/v2/Receipts", as: producer.backend)
            #expect(head.status == 405)
            #expect(head.bytes.isEmpty)
            let large = try await producer.post(
                "/v2/Services", [("FriendlyName", String(repeating: "a", count: 70_000))], as: producer.backend)
            #expect(large.status == 413)
            #expect(try large.code() == 20413)
            let json = try await producer.send(
                "POST", "/v2/Services", body: "{}", as: producer.backend,
                headers: [("Content-Type", "application/json")])
            #expect(json.status == 415)
            #expect(try json.text("message").contains("application/x-www-form-urlencoded"))
            let charset = try await producer.send(
                "POST", "/v2/Services", body: "FriendlyName=a", as: producer.backend,
                headers: [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")])
            #expect(charset.status == 201)
            let many = try await producer.send(
                "POST", "/v2/Services", body: (0...200).map { "a\($0)=b" }.joined(separator: "&"), as: producer.backend)
            #expect(many.status == 400)
        }
    }

    @Test(
        "a broken encoding is 400 that names the parameter",
        arguments: [
            ("FriendlyName=%zz", "FriendlyName"), ("FriendlyName=a%2", "FriendlyName"),
            ("FriendlyName=%ff%fe", "FriendlyName"), ("FriendlyName=a&FriendlyName=b", "FriendlyName"),
            ("friendlyname=a", "FriendlyName"), ("%ff=a", "name"),
        ])
    func encodings(body: String, name: String) async throws {
        try await ProducerHarness.run { producer in
            let answer = try await producer.send("POST", "/v2/Services", body: body, as: producer.backend)
            #expect(answer.status == 400)
            #expect(try answer.code() == 60200)
            #expect(try answer.text("message").contains(name))
        }
    }

    @Test("parameters that nobody asked for are ignored and named")
    func ignored() async throws {
        try await ProducerHarness.run { producer in
            let answer = try await producer.post(
                "/v2/Services", [("FriendlyName", "a"), ("Pusch.IncludeDate", "true"), ("x\u{7}\u{a}y", "1")],
                as: producer.backend)
            #expect(answer.status == 201)
            #expect(answer.header("Beckon-Ignored") == "Pusch.IncludeDate,x??y")
            let plain = try await producer.post("/v2/Services", [("FriendlyName", "a")], as: producer.backend)
            #expect(plain.header("Beckon-Ignored") == nil)
            let list = try await producer.get("/v2/Services?PageSize=1&Sort=name", as: producer.backend)
            #expect(list.header("Beckon-Ignored") == "Sort")
        }
    }

    @Test(
        "three pages follow by next_page_url and by the SDK's pageToken; filters stay; a token of another list is 400")
    func paging() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            var created: [String] = []
            for _ in 0..<5 {
                let answer = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
                created.append(try answer.text("sid"))
                producer.clock.advance(.seconds(1))
            }
            let query = "FactorSid=\(phone.factor)&PageSize=2&Order=desc&Status=pending"
            var url = "\(phone.challengesPath)?\(query)"
            var seen: [String] = []
            var pages = 0
            while true {
                let answer = try await producer.get(url, as: phone.token(nowMs: producer.clock.nowMs))
                #expect(answer.status == 200)
                let meta = try #require(try answer.json()["meta"])
                #expect(meta["key"]?.stringValue == "challenges")
                #expect(meta["page"]?.integerValue == Int64(pages))
                #expect(meta["page_size"]?.integerValue == 2)
                #expect(meta["previous_page_url"] == .null)
                #expect(
                    meta["first_page_url"]?.stringValue?.hasPrefix("\(producer.base)\(phone.challengesPath)?") == true)
                seen += try answer.items("challenges").compactMap { $0["sid"]?.stringValue }
                pages += 1
                guard let next = meta["next_page_url"]?.stringValue else { break }
                #expect(next.hasPrefix(producer.base))
                #expect(next.contains("Order=desc"))
                // The second page as the iOS SDK asks for it, the third as helper libraries do.
                if pages == 1 {
                    let token = try #require(next.components(separatedBy: "PageToken=").last)
                    url = "\(phone.challengesPath)?\(query)&Page=1&pageToken=\(token)"
                } else {
                    url = next
                }
                #expect(pages < 10)
            }
            #expect(pages == 3)
            #expect(seen == created.reversed())

            let first = try await producer.get("\(phone.challengesPath)?PageSize=2", as: producer.backend)
            let next = try #require(try first.json()["meta"]?["next_page_url"]?.stringValue)
            let token = try #require(next.components(separatedBy: "PageToken=").last)
            for (path, code) in [
                ("\(service)/Entities?PageToken=\(token)", 60374), ("\(phone.challengesPath)?PageToken=DNxx", 60374),
                ("\(phone.challengesPath)?PageSize=1001", 60373), ("\(phone.challengesPath)?PageSize=0", 60373),
            ] {
                let answer = try await producer.get(path, as: producer.backend)
                #expect(answer.status == 400, "\(path)")
                #expect(try answer.code() == code, "\(path)")
            }
        }
    }

    @Test("a service shows every setting, keeps what it was given, and changes only what is sent")
    func services() async throws {
        try await ProducerHarness.run { producer in
            let created = try await producer.post(
                "/v2/Services",
                [("FriendlyName", "Bank"), ("CodeLength", "8"), ("Totp.Skew", "2"), ("TtsName", "bank")],
                as: producer.backend)
            let path = "/v2/Services/\(try created.text("sid"))"
            let updated = try await producer.post(path, [("Totp.Skew", "0")], as: producer.backend)
            for answer in [updated, try await producer.get(path, as: producer.backend)] {
                let service = try answer.json()
                #expect(service["code_length"] == .integer(8))
                #expect(service["totp"]?["skew"] == .integer(0))
                #expect(service["totp"]?["issuer"] == .string("Bank"))
                #expect(service["tts_name"] == .string("bank"))
                #expect(service["default_template_sid"] == .null)
                #expect(service["passkeys"]?["relying_party"]?["origins"] == .null)
                #expect(service["links"]?["entities"]?.stringValue == "\(producer.base)\(path)/Entities")
            }
            let wrong = try await producer.post(
                path, [("Push.ApnCredentialSid", "CR" + String(repeating: "0", count: 32))], as: producer.backend)
            #expect(try wrong.text("message").contains("Push.ApnCredentialSid"))
            #expect(try await producer.delete(path, as: producer.backend).status == 204)
            #expect(try await producer.get(path, as: producer.backend).status == 404)
        }
    }

    @Test("URLs in replies stand under the configured public URL")
    func publicURL() async throws {
        try await ProducerHarness.run(adjust: { $0.publicURL = "https://verify.example.com" }) { producer in
            let answer = try await producer.post("/v2/Services", [("FriendlyName", "Bank")], as: producer.backend)
            #expect(try answer.text("url").hasPrefix("https://verify.example.com/v2/Services/VA"))
        }
    }
}
