import ChallengeModel
import Challenges
import Foundation
import Testing
import Wire

@testable import Producer

@Suite("What is left out, and what has another's form", .timeLimit(.minutes(5)))
struct LeftOutTests {
    @Test("an empty FactorSid is none: the challenge is for all devices; empty entries of a list are none")
    func empty() async throws {
        try await ProducerHarness.run(limits: .none) { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(
                service, "user-0001",
                [("FactorSid", ""), ("Details.Fields", ""), ("Fallback", ""), ("Fallback", "sms")])
            #expect(created.status == 201, "\(created.text)")
            #expect(try created.json()["factor_sid"] == .null)
            #expect(try created.json()["details"]?["fields"] == .array([]))
            let session = try await producer.post(
                "\(service)/SessionTokens", [("Identity", "user-0001"), ("FactorSid", "")], as: producer.backend)
            #expect(session.status == 201, "\(session.text)")
            let list = try await producer.get(
                "\(phone.challengesPath)?FactorSid=&Status=&Order=&PageSize=&Page=&PageToken=", as: producer.backend)
            #expect(list.status == 200, "\(list.text)")
            #expect(try list.items("challenges").count == 1)
            let audit = try await producer.get("/v1/AuditEvents?Actor=&Subject=", as: producer.backend)
            #expect(audit.status == 200)
            let kept = try await producer.post(
                service, [("Passkeys.RelyingParty.Origins", "")], as: producer.backend)
            #expect(kept.status == 200)
        }
    }

    @Test(
        "an identity has not the form of a SID, of whatever kind and case",
        arguments: ["YE", "ye", "Ye", "VA", "YF", "yc", "AC", "ZZ"])
    func identities(prefix: String) async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            for digits in ["0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF"] {
                let identity = prefix + digits
                for (path, form) in [
                    ("\(service)/Entities", [("Identity", identity)]),
                    ("\(service)/AccessTokens", [("Identity", identity), ("FactorType", "push")]),
                    ("\(service)/SessionTokens", [("Identity", identity)]),
                ] {
                    let answer = try await producer.post(path, form, as: producer.backend)
                    #expect(answer.status == 400, "\(path) \(identity)")
                    #expect([60200, 60305].contains(try answer.code()), "\(path)")
                }
            }
            let near = try await producer.post(
                "\(service)/Entities", [("Identity", prefix + "0123456789abcdef0123456789abcde")], as: producer.backend)
            #expect(near.status == 201, "33 characters are no SID")
        }
    }

    @Test(
        "a time is one of RFC 3339, with nothing behind it",
        arguments: [
            ("2026-01-31T20:00:00Z", 1_769_889_600_000), ("2026-01-31T20:00:00.5Z", 1_769_889_600_500),
            ("2026-01-31T20:00:00.1239999Z", 1_769_889_600_123), ("2026-01-31T22:00:00+02:00", 1_769_889_600_000),
            ("2026-01-31T22:00:00+0200", 1_769_889_600_000), ("2026-01-31T13:30:00-06:30", 1_769_889_600_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000), ("1970-01-01T00:00:00Z", 0),
            ("2000-03-01T00:00:00z", 951_868_800_000), ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("2026-01-31T20:00:00Zjunk", nil), ("2026-01-31T20:00:00Z ", nil), (" 2026-01-31T20:00:00Z", nil),
            ("2026-01-31T20:60:00Z", nil), ("2026-01-31T24:00:00Z", nil), ("2026-01-31T20:00:60Z", nil),
            ("2026-02-29T00:00:00Z", nil), ("2026-13-01T00:00:00Z", nil), ("2026-00-01T00:00:00Z", nil),
            ("2026-04-31T00:00:00Z", nil), ("2026-01-31T20:00:00", nil), ("2026-01-31 20:00:00Z", nil),
            ("2026-01-31T20:00:00.Z", nil), ("2026-01-31T20:00:00+25:00", nil), ("2026-01-31T20:00:00+02:60", nil),
            ("26-01-31T20:00:00Z", nil), ("2026-1-31T20:00:00Z", nil), ("0000-01-01T00:00:00Z", nil), ("", nil),
            ("2026-01-31T20:00:00+02:00Z", nil), ("2026-01-31T20:00Z", nil), ("２026-01-31T20:00:00Z", nil),
            ("2026-01-31T20:00:00Z\u{0}", nil), ("tomorrow", nil),
        ] as [(String, Int64?)])
    func times(text: String, epochMs: Int64?) {
        #expect(Timestamp.epochMs(text) == epochMs)
        if let epochMs, epochMs % 1000 == 0, text.hasSuffix("Z") {
            #expect(Timestamp.rfc3339Seconds(epochMs) == text)
        }
    }

    @Test(
        "a key whose role does not allow a list is told by 20403: 20006 reads as an empty page to a published library")
    func roles() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let (key, secret) = try await producer.store.createKey(
                account: producer.account.sid, role: .send, friendlyName: "sender", nowMs: producer.clock.nowMs)
            let sender = Authorization.basic(key.sid.rawValue, secret)
            for path in [
                "/v2/Services", "\(service)/Entities", "\(service)/Webhooks", "/v1/Credentials", "/v1/AuditEvents",
                "/v1/Alerts",
            ] {
                let answer = try await producer.get(path, as: sender)
                #expect(answer.status == 403, "\(path)")
                #expect(try answer.code() == 20403, "\(path)")
            }
        }
    }
}
