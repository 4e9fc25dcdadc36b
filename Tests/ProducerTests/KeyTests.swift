import ChallengeModel
import Challenges
import Foundation
import Storage
import Testing
import Wire

@testable import Producer

@Suite("API keys, rotation, the audit trail", .timeLimit(.minutes(5)))
struct KeyTests {
    @Test("a key revoked and a token rotated by another process count within seconds")
    func otherProcess() async throws {
        try await ProducerHarness.run { producer in
            let tool = try ChallengeStore.sqlite(
                path: producer.storePath, keys: producer.storeKeys, logger: ProducerHarness.logger)
            let account = producer.account.sid
            let (key, secret) = try await tool.createKey(
                account: account, role: .read, friendlyName: "", nowMs: producer.clock.nowMs)
            let authorization = Authorization.basic(key.sid.rawValue, secret)
            #expect(try await producer.get("/v2/Services", as: authorization).status == 200)
            #expect(try await tool.revokeKey(key.sid, account: account, nowMs: producer.clock.nowMs))
            let rotated = try await tool.rotateAuthToken(
                account, keepFormerMs: 3_600_000, nowMs: producer.clock.nowMs)
            await tool.close()
            try await becomesTrue(within: .seconds(60), "the key is refused") {
                try await producer.get("/v2/Services", as: authorization).status == 401
            }
            let new = Authorization.basic(account.rawValue, rotated.authToken)
            for good in [producer.backend, new] {
                #expect(try await producer.get("/v2/Services", as: good).status == 200)
            }
            producer.clock.advance(.seconds(3601))
            try await becomesTrue(within: .seconds(60), "the former token is refused") {
                try await producer.get("/v2/Services", as: producer.backend).status == 401
            }
            #expect(try await producer.get("/v2/Services", as: new).status == 200)
        }
    }

    @Test("the trail says who did what under which request, page by page, and holds no secret and no identity")
    func trail() async throws {
        try await ProducerHarness.run { producer in
            let (key, secret) = try await producer.store.createKey(
                account: producer.account.sid, role: .send, friendlyName: "the till", nowMs: producer.clock.nowMs)
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let sender = Authorization.basic(key.sid.rawValue, secret)
            let created = try await producer.post(
                "\(service)/Entities/user-0001/Challenges", [("Details.Message", "Log in?")], as: sender)
            let sid = try created.text("sid")
            let path = "\(phone.challengesPath)/\(sid)"
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            let answered = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answered.status == 200)

            var url = "/v1/AuditEvents?PageSize=3"
            var events: [JSONValue] = []
            var all = ""
            while true {
                let page = try await producer.get(url, as: producer.backend)
                #expect(page.status == 200)
                all += page.text
                events += try page.items("audit_events")
                guard let next = try page.json()["meta"]?["next_page_url"]?.stringValue else { break }
                url = next
            }
            let told = events.map { "\($0["action"]?.stringValue ?? "") \($0["actor"]?.stringValue?.prefix(2) ?? "")" }
            #expect(
                told == [
                    "challenge.approved YF", "challenge.created SK", "factor.verified YF", "factor.created YK",
                    "entity.created YK", "access_token.created AC", "service.created AC", "key.created sy",
                    "account.created sy",
                ])
            #expect(events[0]["subject"]?.stringValue == sid)
            #expect(events[0]["actor"]?.stringValue == phone.factor)
            #expect(events[0]["request_id"]?.stringValue == answered.header("Twilio-Request-Id"))
            #expect(events[1]["actor"]?.stringValue == key.sid.rawValue)
            for hidden in [producer.account.authToken, secret, "user-0001", "Log in?", "the till", phone.pushToken] {
                #expect(!all.contains(hidden))
            }
            let one = try await producer.get("/v1/AuditEvents?Actor=\(key.sid)", as: producer.backend)
            #expect(try one.items("audit_events").count == 1)
            #expect(try await producer.get("/v1/AuditEvents", as: sender).status == 403)
        }
    }
}
