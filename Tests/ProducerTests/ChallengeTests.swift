import ChallengeModel
import Challenges
import Foundation
import KafkaClient
import Testing
import Wire

@testable import Producer

@Suite("Challenges over HTTP", .timeLimit(.minutes(5)))
struct ChallengeTests {
    @Test("a challenge is created, read, answered and read again; the signed members are byte-faithful")
    func path() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.post(
                phone.challengesPath,
                [
                    ("FactorSid", phone.factor), ("Details.Message", "Log in / é? \"now\""),
                    ("Details.Fields", #"{"label":"IP","value":"10.0.0.1"}"#),
                    ("Details.Fields", #"{"label":"Where","value":"Köln \u00e9"}"#), ("HiddenDetails", #"{"k":"v/1"}"#),
                ], as: producer.backend)
            #expect(created.status == 201, "\(created.text)")
            #expect(try created.json()["beckon"] == nil, "no extension is in effect")
            #expect(try created.text("factor_sid") == phone.factor)
            #expect(try created.json()["date_responded"] == .null)
            #expect(try created.text("responded_reason") == "none")
            #expect(try created.json()["details"]?["date"] == nil)
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            #expect(try created.text("url") == producer.base + path)

            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(read.status == 200)
            #expect(
                read.header("Twilio-Verify-Signature-Fields")
                    == "sid,account_sid,service_sid,factor_sid,identity,date_created,expiration_date,details,hidden_details"
            )
            let answer = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "approved")), ("Metadata", #"{"os":"iOS"}"#)],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answer.status == 200, "\(answer.text)")
            let final = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try final.text("status") == "approved")
            #expect(try final.json()["metadata"]?["os"]?.stringValue == "iOS")
            #expect(try final.json()["date_responded"] != .null)
            #expect(final.header("Twilio-Verify-Signature-Fields") == nil)
            for name in [
                "sid", "account_sid", "service_sid", "factor_sid", "identity", "date_created", "expiration_date",
                "details",
                "hidden_details",
            ] {
                #expect(try final.json()[name] == read.json()[name], "\(name)")
            }
            #expect(producer.metrics.count(.answers, [("result", "approved")]) == 1)
            #expect(producer.metrics.count(.challengesCreated, [("source", "http")]) == 1)
        }
    }

    @Test("dates end in Z without a fraction, and details.date is there only when the service says so")
    func dates() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            #expect(
                try await producer.post(service, [("Push.IncludeDate", "true")], as: producer.backend).status == 200)
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(
                service, "user-0001", [("FactorSid", phone.factor), ("ExpirationDate", in10Minutes(producer))])
            let pattern = #/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/#
            for name in ["date_created", "date_updated", "expiration_date"] {
                #expect(try created.text(name).contains(pattern))
            }
            #expect(try created.text("expiration_date") == in10Minutes(producer))
            #expect(try created.json()["details"]?["date"]?.stringValue?.contains(pattern) == true)
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            let read = try await producer.get(path, as: phone.token(nowMs: producer.clock.nowMs))
            let answer = try await producer.post(
                path, [("AuthPayload", try phone.answer(read, "denied"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(answer.status == 200, "details with a date are signed with it")
        }
    }

    private func in10Minutes(_ producer: ProducerHarness) -> String {
        Timestamp.rfc3339Seconds(producer.clock.nowMs + 600_000)
    }

    @Test(
        "in a fan-out each device reads its own factor, the backend null and then the answerer, and the loser gets 60322"
    )
    func fanOut() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let one = try await producer.enroll("user-0001", service: service)
            let two = try await producer.enroll("user-0001", service: service)
            let late = try await producer.enroll("user-0001", service: service, isVerified: false)
            let created = try await producer.createChallenge(
                service, "user-0001",
                [
                    ("Fallback", "sms"), ("Fallback", "voice"), ("Redelivery.MaxAttempts", "2"),
                    ("Redelivery.ExpectedLatency", "3000"), ("Redelivery.Confirm", "any"),
                ])
            #expect(created.status == 201, "\(created.text)")
            #expect(try created.json()["factor_sid"] == .null)
            let expected = """
                {"fan_out":true,"fallbacks":["sms","voice"],"redelivery":{"max_attempts":2,"expected_latency":3000,\
                "adaptive":false,"confirm":"any"},"request_id":null}
                """
            #expect(try created.json()["beckon"] == JSONParser.parse(expected))
            let path = "\(one.challengesPath)/\(try created.text("sid"))"
            let ofOne = try await producer.get(path, as: one.token(nowMs: producer.clock.nowMs))
            let ofTwo = try await producer.get(path, as: two.token(nowMs: producer.clock.nowMs))
            #expect(try ofOne.text("factor_sid") == one.factor)
            #expect(try ofTwo.text("factor_sid") == two.factor)
            #expect(try ofTwo.json()["beckon"] == nil)
            #expect(try await producer.get(path, as: late.token(nowMs: producer.clock.nowMs)).status == 404)

            let foreign = try await producer.post(
                path, [("AuthPayload", try one.answer(ofTwo, "approved"))],
                as: one.token(nowMs: producer.clock.nowMs))
            #expect(try foreign.code() == 60324, "one may not sign what two reads")
            let won = try await producer.post(
                path, [("AuthPayload", try two.answer(ofTwo, "denied"))],
                as: two.token(nowMs: producer.clock.nowMs))
            #expect(won.status == 200)
            let lost = try await producer.post(
                path, [("AuthPayload", try one.answer(ofOne, "approved"))],
                as: one.token(nowMs: producer.clock.nowMs))
            #expect(lost.status == 403)
            #expect(try lost.code() == 60322)
            let backend = try await producer.get(path, as: producer.backend)
            #expect(try backend.text("factor_sid") == two.factor)
            #expect(try backend.text("status") == "denied")
            let loser = try await producer.get(path, as: one.token(nowMs: producer.clock.nowMs))
            #expect(try loser.text("factor_sid") == one.factor)
        }
    }

    @Test("without a verified factor: 404 for no identity, 403 60318 that names the fall-backs otherwise")
    func noFactor() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            #expect(try await producer.createChallenge(service, "user-0001").status == 404)
            let phone = try await producer.enroll("user-0001", service: service, isVerified: false)
            let fanOut = try await producer.createChallenge(service, "user-0001", [("Fallback", "sms")])
            #expect(try fanOut.code() == 60318)
            #expect(try fanOut.text("message").contains("sms"))
            let single = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            #expect(single.status == 403)
            #expect(try single.code() == 60318)
            let unknown = try await producer.createChallenge(
                service, "user-0001", [("FactorSid", "YF" + String(repeating: "0", count: 32))])
            #expect(unknown.status == 404)
        }
    }

    @Test("a resend has its own SID, three are allowed, and none of a closed challenge or to a device without pushes")
    func notifications() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            let created = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let path = "\(phone.challengesPath)/\(try created.text("sid"))"
            for _ in 0..<3 {
                let sent = try await producer.post("\(path)/Notifications", [("Ttl", "60")], as: producer.backend)
                #expect(sent.status == 201)
                #expect(NotificationSID(try sent.text("sid")) != nil)
                #expect(try sent.json()["ttl"]?.integerValue == 60)
                #expect(try sent.text("priority") == "high")
            }
            let fourth = try await producer.post("\(path)/Notifications", as: producer.backend)
            #expect(fourth.status == 429)
            #expect(try fourth.code() == 60309)
            #expect(
                try await producer.post("\(path)/Notifications", [("Ttl", "301")], as: producer.backend).status == 400)
            let closing = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            let closingPath = "\(phone.challengesPath)/\(try closing.text("sid"))"
            let read = try await producer.get(closingPath, as: phone.token(nowMs: producer.clock.nowMs))
            _ = try await producer.post(
                closingPath, [("AuthPayload", try phone.answer(read, "denied"))],
                as: phone.token(nowMs: producer.clock.nowMs))
            #expect(try await producer.post("\(closingPath)/Notifications", as: producer.backend).code() == 60322)
            let quiet = try await producer.createChallenge(service, "user-0001", [("FactorSid", phone.factor)])
            _ = try await producer.post(
                phone.factorPath, [("Config.NotificationPlatform", "none")],
                as: phone.token(nowMs: producer.clock.nowMs))
            let none = try await producer.post(
                "\(phone.challengesPath)/\(try quiet.text("sid"))/Notifications", as: producer.backend)
            #expect(try none.code() == 60307)
            _ = try await producer.post(
                phone.factorPath,
                [("Config.NotificationPlatform", "apn"), ("Config.NotificationToken", TestDevice().pushToken)],
                as: phone.token(nowMs: producer.clock.nowMs))
            producer.clock.advance(.seconds(301))
            let expired = try await producer.post(
                "\(phone.challengesPath)/\(try quiet.text("sid"))/Notifications", as: producer.backend)
            #expect(try expired.code() == 60323)
        }
    }

    @Test("what is wrong with a challenge is said by parameter")
    func parameters() async throws {
        try await ProducerHarness.run { producer in
            let service = try await producer.makeService()
            let phone = try await producer.enroll("user-0001", service: service)
            func refused(_ name: String, _ values: String?...) async throws {
                var form = [("Details.Message", "Log in?")].filter { $0.0 != name }
                form += values.compactMap { value in value.map { (name, $0) } }
                let answer = try await producer.post(phone.challengesPath, form, as: producer.backend)
                #expect(answer.status == 400, "\(name) \(values)")
                #expect(try answer.code() == 60200)
                #expect(try answer.text("message").contains(name))
            }
            try await refused("Details.Message")
            try await refused("Details.Message", String(repeating: "a", count: 257))
            try await refused("Details.Message", "one", "two")
            try await refused("FactorSid", "YF1")
            try await refused("Details.Fields", #"{"label":"IP"}"#)
            try await refused("Details.Fields", "[]")
            try await refused("HiddenDetails", #"{"a":{"b":"c"}}"#)
            try await refused("ExpirationDate", "tomorrow")
            try await refused("ExpirationDate", Timestamp.rfc3339Seconds(producer.clock.nowMs - 1000))
            try await refused("ExpirationDate", Timestamp.rfc3339Seconds(producer.clock.nowMs + 61 * 60_000))
            try await refused("Fallback", "SMS")
            try await refused("Redelivery.MaxAttempts", "0")
            try await refused("Redelivery.MaxAttempts", "11")
            try await refused("Redelivery.ExpectedLatency", "499")
            try await refused("Redelivery.Confirm", "all")
        }
    }
}
